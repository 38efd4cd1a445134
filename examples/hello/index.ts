// A fetch handler: it gets a web-standard Request and returns a Response. No build, no dependencies.
//
//   hostel deploy examples/hello
//   hostel invoke hello --path '/?name=Ada'

export default {
  fetch(request: Request): Response {
    const name = new URL(request.url).searchParams.get('name') ?? 'world'
    console.log(`greeting ${name}`)
    return new Response(`Hello, ${name}!\n`)
  },
}
