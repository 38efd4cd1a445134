"""The builder for Python: runs in a sandbox of its own for each build; the same contract as npm.mjs beside it.

The answer is frames: a byte for what it is (1 a line, 2 part of the archive, 3 the end), the length as u32, the bytes.
"""
import base64
import io
import json
import os
import struct
import subprocess
import sys
import tarfile

WORK = '/tmp/work'
OUT = '/tmp/out'
TARGET = '.site-packages'
LINE_MAX_CHARS = 2_000
CHUNK_BYTES = 65_536
# It is unpacked a moment later on the same machine.
GZIP_LEVEL = 1


class Failed(Exception):
    """The build is over, and why."""


def handler(event, context):
    return {'statusCode': 200, 'headers': {'content-type': 'application/octet-stream'}, 'body': _frames(base64.b64decode(event['body']))}


def _frames(archive):
    try:
        os.makedirs(WORK)
        with tarfile.open(fileobj=io.BytesIO(archive)) as source:
            source.extractall(WORK)
        requirements = _requirements()
        target = f'{OUT}/{TARGET}'
        yield from _run(['-m', 'pip', 'install', '--target', target, '--no-input', '--no-cache-dir', '--no-compile', '--disable-pip-version-check',
                         '--no-warn-script-location', '--progress-bar', 'off', '--index-url', os.environ['BUILD_INDEX'], '--cert', '/code/ca.pem',
                         '--proxy', os.environ['https_proxy'], '--retries', '2', '--timeout', '60', '-r', requirements], 'pip install')
        os.makedirs(target, exist_ok=True)
        subprocess.run(['rm', '-rf', f'{target}/bin'], check=False)
        yield _line('compileall')
        # Without a source's time and size to compare, an import need not look at the source. What does not compile is not imported either.
        subprocess.run([sys.executable, '-I', '-m', 'compileall', '-q', '-q', '-j', '2', '--invalidation-mode', 'unchecked-hash', '-s', OUT, '-p', '/code', target],
                       check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield from _packed()
        yield _frame(3, json.dumps({'ok': True}).encode())
    except Failed as error:
        yield _frame(3, json.dumps({'ok': False, 'message': str(error)}).encode())


def _requirements():
    """The file that says what to install; made of pyproject.toml where there is no other."""
    if os.path.exists(f'{WORK}/requirements.txt'):
        return 'requirements.txt'
    import tomllib
    try:
        with open(f'{WORK}/pyproject.toml', 'rb') as file:
            project = tomllib.load(file).get('project', {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failed(f'pyproject.toml cannot be read: {error}') from None
    if 'dependencies' in project.get('dynamic', ()):
        raise Failed('pyproject.toml computes its dependencies (dynamic), which takes a build of the project; write them down in requirements.txt')
    wanted = project.get('dependencies', [])
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise Failed('project.dependencies in pyproject.toml takes a list of texts')
    with open(f'{WORK}/.requirements.txt', 'w') as file:
        file.writelines(f'{one}\n' for one in wanted)
    return '.requirements.txt'


def _run(arguments, name):
    yield _line(name)
    environment = {**os.environ, 'PYTHONPATH': '/usr/local/lib/pip', 'PIP_CONFIG_FILE': '/dev/null', 'HOME': '/tmp',
                   'SSL_CERT_FILE': '/code/ca.pem', 'PYTHONUNBUFFERED': '1', 'PYTHONWARNINGS': 'ignore'}
    with subprocess.Popen([sys.executable, *arguments], cwd=WORK, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as child:
        for line in child.stdout:
            yield _line(line.decode('utf-8', 'replace').rstrip())
    if child.returncode:
        raise Failed(f'{name} ended with {child.returncode}')


def _packed():
    """The archive piece by piece; links are followed, since a version can't have any."""
    archive = subprocess.Popen(['sh', '-c', f'tar -c -h -f - -C {OUT} {TARGET} | gzip -{GZIP_LEVEL}'], stdout=subprocess.PIPE)
    while chunk := archive.stdout.read(CHUNK_BYTES):
        yield _frame(2, chunk)
    if archive.wait():
        raise Failed('what was installed could not be packed')


def _line(text):
    return _frame(1, text[:LINE_MAX_CHARS].encode('utf-8', 'replace'))


def _frame(kind, payload):
    return struct.pack('>BI', kind, len(payload)) + payload
