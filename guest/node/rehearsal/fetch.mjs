/** What functions commonly touch; run before READY and never seen. */
export default {
  /** @param {Request} request @param {Record<string, string>} env @param {any} ctx */
  async fetch(request, env, ctx) {
    const url = new URL(request.url)
    ctx.waitUntil(Promise.resolve())
    console.log('%s %s', request.method, url.pathname, { env, remainingMs: ctx.getRemainingTimeInMillis() })
    const body = await request.text()
    if (url.searchParams.has('json')) return Response.json({ body, headers: Object.fromEntries(request.headers) }, { status: 201, headers: { 'x-a': 'b' } })
    return new Response(body, { headers: new Headers({ 'content-type': request.headers.get('content-type') ?? 'text/plain' }) })
  },
}
