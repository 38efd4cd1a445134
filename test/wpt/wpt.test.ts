/** Runs the cases on both sets of classes; what each does not pass is listed here, with the reason. */
import { lightFetch } from '../../guest/node/fetch/install.mjs'
import { Headers as LightHeaders } from '../../guest/node/fetch/headers.mjs'
import { Request as LightRequest } from '../../guest/node/fetch/request.mjs'
import { Response as LightResponse } from '../../guest/node/fetch/response.mjs'
import './body.cases.ts'
import './headers.cases.ts'
import './request-body.cases.ts'
import './request.cases.ts'
import './response.cases.ts'
import { runOn } from './suite.ts'

const BROWSER_ONLY = 'a browser keeps these headers from pages; code on a server needs them'
const EMPTY_FORM = 'the file itself doubts it, and RFC 2046 wants a closing boundary'

runOn({ name: 'light', Headers: LightHeaders, Request: LightRequest, Response: LightResponse, fetch: lightFetch(fetch) } as never, {
  "headers/header-setcookie.any.js: a response's headers take no cookies": BROWSER_ONLY,
  'headers/headers-no-cors.any.js: a request without CORS keeps to the safe headers': BROWSER_ONLY,
  'request/request-headers.any.js: headers that a browser keeps to itself are passed over': BROWSER_ONLY,
  'request/request-consume-empty.any.js: an empty form is an empty text': EMPTY_FORM,
})
runOn(
  { name: 'node', Headers, Request, Response, fetch },
  {
    "headers/header-setcookie.any.js: a response's headers take no cookies": BROWSER_ONLY,
    'headers/headers-no-cors.any.js: a request without CORS keeps to the safe headers': BROWSER_ONLY,
    'request/request-headers.any.js: headers that a browser keeps to itself are passed over': BROWSER_ONLY,
    'request/request-consume-empty.any.js: an empty form is an empty text': EMPTY_FORM,
    'request/request-init-001.sub.html: what is given is there': 'undici forgets the referrer policy of a request that is copied',
    'request/request-disturbed.any.js: so is one that another was made from with a body of its own': 'undici leaves the first body alone',
    'response/response-clone.any.js: the clone of a stream gets chunks of its own, of the same type': 'undici hands both sides the same chunk',
    'response/response-stream-with-broken-then.any.js: a then on Object.prototype cannot slip in another chunk': 'undici reads through promises',
    'response/response-stream-with-broken-then.any.js: nor change bytes on their way to text': 'undici reads through promises',
  },
)
