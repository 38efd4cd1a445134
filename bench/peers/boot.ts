/** A bare program's cold start: boot Node, listen, answer one request (its own, so that it works without a network too), say so. */
export const bootAndAnswerSource = `import { createServer } from 'node:http'
import { connect } from 'node:net'
const server = createServer((request, response) => response.end('hello from a function\\n'))
server.listen(0, '127.0.0.1', () => {
  const socket = connect(server.address().port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n'))
  socket.once('data', () => { process.stdout.write('answered\\n', () => process.exit(0)) })
})
`
