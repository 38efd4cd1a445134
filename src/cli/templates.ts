/** What `hostel init` writes: one small file a runtime, which answers at once and shows where to go on. */

interface Template {
  file: string
  /** Set where the file is to be executed. */
  mode?: number
  text: (name: string) => string
}

export const templates: Record<string, Template> = {
  nodejs24: {
    file: 'index.ts',
    text: (name) => `// hostel deploy, then: hostel invoke ${name} --path '/?name=Ada'

export default {
  async fetch(request: Request, env: Record<string, string>): Promise<Response> {
    const name = new URL(request.url).searchParams.get('name') ?? 'world'
    console.log(\`\${request.method} for \${name}\`)
    return Response.json({ message: \`\${env.GREETING ?? 'Hello'}, \${name}!\` })
  },
}
`,
  },
  python3: {
    file: 'main.py',
    text: (name) => `# hostel deploy, then: hostel invoke ${name} --path '/?name=Ada'

import os


def handler(event, context):
    parameters = event.get("queryStringParameters") or {}
    name = parameters.get("name", "world")
    print(f"hello for {name}")
    return {"message": f"{os.environ.get('GREETING', 'Hello')}, {name}!"}
`,
  },
  exec: {
    file: 'handler.sh',
    mode: 0o755,
    text: (name) => `#!/bin/sh
# hostel deploy, then: hostel invoke ${name} --path '/?name=Ada'
# Runs once for each request: variables and standard input in, standard output out, standard error into the log.

name=$(echo "$QUERY_STRING" | tr '&' '\\n' | sed -n 's/^name=//p')
echo "$REQUEST_METHOD for \${name:-world}" >&2
echo "\${GREETING:-Hello}, \${name:-world}!"
`,
  },
}
