// An event handler: it gets an event and returns any JSON value.
//
//   hostel deploy examples/event
//   hostel invoke event --data '{"items": [{"name": "tea", "price": 2.5, "quantity": 2}]}'
//
// Over HTTP the same handler gets the request as an event, with the body as text:
//
//   curl --json '{"items": [{"name": "tea", "price": 2.5, "quantity": 2}]}' http://127.0.0.1:8080/default/event

export const handler = async (event) => {
  const overHttp = event.requestContext?.http !== undefined
  const order = overHttp ? JSON.parse(event.body || '{}') : event
  const items = order.items ?? []
  const total = items.reduce((sum, { price, quantity = 1 }) => sum + price * quantity, 0)
  console.log(`order of ${items.length} items`)
  return { items: items.length, total }
}
