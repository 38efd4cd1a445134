exports.handler = async (event, context) => ({
  statusCode: 200,
  headers: { 'x-a': context.awsRequestId },
  body: JSON.stringify({ path: event.rawPath, body: event.body }),
})
