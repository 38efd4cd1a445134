/** What `hostel init` writes: one small file a runtime, which answers at once and shows where to go on. */

interface Template {
  file: string
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
}
