// Prices an order, in the currency that hostel.yaml says.

const prices: Record<string, number> = { tea: 2.5, coffee: 3.2, cake: 4 }

export default {
  fetch(request: Request, env: Record<string, string>): Response {
    const { searchParams } = new URL(request.url)
    const item = searchParams.get('item') ?? 'tea'
    const price = prices[item]
    if (price === undefined) return Response.json({ error: `there is no ${item}` }, { status: 404 })
    const count = Number(searchParams.get('count') ?? 1)
    console.log(`${count} × ${item}`)
    return Response.json({ item, count, total: price * count, currency: env.CURRENCY })
  },
}
