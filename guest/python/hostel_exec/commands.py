"""One process for each request: the body is its standard input, its standard output the answer, its standard error the log."""
from hostel_shim.logs import ERROR, current
from hostel_shim.request import InvalidResponse
from hostel_shim.web import Target, refusal
from hostel_shim.workers import Workers

from .environment import BadTarget, environment
from .process import Process, ProgramFailed

# Of the 128 processes and threads that a sandbox has, each request takes a thread of ours and what its program starts.
PROCESSES_MAX = 24


class Commands(Workers):
    contract = 'fetch'

    def __init__(self, host, program, spec):
        super().__init__(host, program, {**spec, 'concurrency': min(spec['concurrency'], PROCESSES_MAX)})

    def _serve(self, request):
        current.set(request)
        try:
            refused = refusal(request, 'a program')
            if refused:
                return self._host.refuse(request, *refused)
            with Process(self._host, request, self._handler, environment(request, Target(request))) as process:
                process.run()
        except BadTarget as error:
            self._host.refuse(request, 400, str(error))
        except InvalidResponse as error:
            self._host.fail(request, error, 'invalid_response')
        except ProgramFailed as error:
            if not request.cancelled:
                self._host.logs.message(ERROR, str(error))
            request.fail({'kind': 'handler', 'name': 'ProgramFailed', 'message': str(error)})
        except BaseException as error:
            self._host.fail(request, error)
        finally:
            current.set(None)
