/** The handler that every peer runs: as little work as an answer can be. */
export const ANSWER = 'hello from a function\n'

/** As a Hostel function; also a workerd module worker. The comment makes each copy code of its own. */
export function fetchHandlerSource(mark: string): string {
  return `// ${mark}\nexport default {\n  fetch() {\n    return new Response(${JSON.stringify(ANSWER)}, { headers: { 'content-type': 'text/plain' } })\n  },\n}\n`
}

/** As a bare node:http server, listening on $PORT of loopback. */
export const bareServerSource = `import { createServer } from 'node:http'
createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': ${ANSWER.length} })
  response.end(${JSON.stringify(ANSWER)})
}).listen(Number(process.env.PORT), '127.0.0.1')
`

/** As a proxy with undici in front of a TCP upstream, as gateways of self-made platforms do it. */
export const undiciProxySource = (undiciPath: string): string => `import { createServer } from 'node:http'
import { Pool } from ${JSON.stringify(undiciPath)}
const pool = new Pool('http://127.0.0.1:' + process.env.UPSTREAM, { connections: 64, pipelining: 1 })
createServer((request, response) => {
  pool.stream({ path: request.url, method: request.method, headers: { host: 'upstream' }, opaque: response }, ({ statusCode, headers, opaque }) => {
    opaque.writeHead(statusCode, { 'content-type': headers['content-type'], 'content-length': headers['content-length'] })
    return opaque
  }).catch(() => response.destroy())
}).listen(Number(process.env.PORT), '127.0.0.1')
`

/** nginx in front of a TCP upstream with keep-alive, one worker. */
export const nginxConfig = (directory: string, port: number, upstream: number): string => `daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy; fastcgi_temp_path ${directory}/f; uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  keepalive_requests 100000000;
  upstream app { server 127.0.0.1:${upstream}; keepalive 64; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}
`

/** workerd's configuration for one module worker. */
export const workerdConfig = (port: number): string => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = (modules = [ (name = "worker", esModule = embed "worker.mjs") ], compatibilityDate = "2024-01-01")) ],
  sockets = [ (name = "http", address = "127.0.0.1:${port}", http = (), service = "main") ]
);
`
