"""Runs inside a real sandbox and reports what it sees and what it may do. The test on the host judges."""
import ctypes
import errno
import os
import platform
import socket
import stat

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"

# System call numbers: x86-64, arm64 (from the kernel's tables).
SYSCALLS = {
    "unshare(CLONE_NEWUSER)": (272, 97, (0x10000000,)),
    "unshare(CLONE_NEWNS)": (272, 97, (0x00020000,)),
    "setns": (308, 268, (0, 0)),
    "mount": (165, 40, (b"none", b"/tmp", b"tmpfs", 0, 0)),
    "umount2": (166, 39, (b"/code", 2)),
    "pivot_root": (155, 41, (b"/tmp", b"/tmp")),
    "chroot": (161, 51, (b"/tmp",)),
    "open_tree": (428, 428, (-100, b"/", 1)),
    "move_mount": (429, 429, (-100, b"/tmp", -100, b"/code", 0)),
    "fsopen": (430, 430, (b"tmpfs", 0)),
    "mount_setattr": (442, 442, (-100, b"/code", 0, 0, 0)),
    "ptrace": (101, 117, (0, 0, 0, 0)),
    "process_vm_readv": (310, 270, (1, 0, 0, 0, 0, 0)),
    "process_vm_writev": (311, 271, (1, 0, 0, 0, 0, 0)),
    "bpf": (321, 280, (0, 0, 0)),
    "perf_event_open": (298, 241, (0, 0, -1, -1, 0)),
    "userfaultfd": (323, 282, (0,)),
    "io_uring_setup": (425, 425, (1, 0)),
    "keyctl": (250, 219, (0, -3, 0, 0, 0)),
    "add_key": (248, 217, (b"user", b"x", b"y", 1, -3)),
    "request_key": (249, 218, (b"user", b"x", 0, -3)),
    "kexec_load": (246, 104, (0, 0, 0, 0)),
    "init_module": (175, 105, (0, 0, b"")),
    "finit_module": (313, 273, (0, b"", 0)),
    "delete_module": (176, 106, (b"x", 0)),
    "reboot": (169, 142, (0xFEE1DEAD, 672274793, 0, 0)),
    "swapon": (167, 224, (b"/tmp/x", 0)),
    "settimeofday": (164, 170, (0, 0)),
    "clock_settime": (227, 112, (0, 0)),
    "adjtimex": (159, 171, (0,)),
    "sethostname": (170, 161, (b"x", 1)),
    "acct": (163, 89, (0,)),
    "quotactl": (179, 60, (0, 0, 0, 0)),
    "open_by_handle_at": (304, 265, (0, 0, 0)),
    "name_to_handle_at": (303, 264, (-100, b"/", 0, 0, 0)),
    "syslog": (103, 116, (3, 0, 0)),
    "pidfd_getfd": (438, 438, (0, 0, 0)),
    "seccomp(listener)": (317, 277, (1, 8, 0)),
    "mknod(block)": (133, None, (b"/tmp/block", 0o060666, 0x0800)),
    "setrlimit(CORE)": (160, 164, (4, b"\0" * 16)),
    "prlimit(CORE)": (302, 261, (0, 4, b"\0" * 16, 0)),
    "prlimit(CORE, high bits)": (302, 261, (0, ctypes.c_ulong((1 << 32) | 4), b"\0" * 16, 0)),
    "clone3": (435, 435, (0, 0)),
}


def call(entry):
    x86, arm, args = entry
    number = x86 if X86 else arm
    if number is None:
        return "absent"
    ctypes.set_errno(0)
    result = libc.syscall(number, *args)
    return "allowed" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def try_socket(family, kind, protocol=0):
    try:
        socket.socket(family, kind, protocol).close()
        return "allowed"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def try_connect(address, family=socket.AF_INET):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(address)
        return "connected"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def try_open(path, mode):
    try:
        with open(path, mode):
            return "opened"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def writable_directories():
    found = []
    for root, directories, _ in os.walk("/"):
        if root in ("/proc", "/dev/fd"):
            directories[:] = []
            continue
        path = os.path.join(root, ".hostel-probe")
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
            os.close(descriptor)
            os.unlink(path)
            found.append(root)
        except OSError:
            pass
    return found


def setuid_files():
    found = []
    for root, directories, files in os.walk("/"):
        if root == "/proc":
            directories[:] = []
            continue
        for name in files:
            try:
                mode = os.lstat(os.path.join(root, name)).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(os.path.join(root, name))
    return found


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def status():
    lines = read("/proc/self/status").splitlines()
    return {line.split(":", 1)[0]: line.split(":", 1)[1].strip() for line in lines if ":" in line}


def open_descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return found


def report():
    return {
        "status": status(),
        "pid": os.getpid(),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "init": read("/proc/1/comm").strip(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
        "uid_map": read("/proc/self/uid_map").split(),
        "mounts": [line.split()[:4] for line in read("/proc/self/mounts").splitlines()],
        "hostname": socket.gethostname(),
        "interfaces": [name for _, name in socket.if_nameindex()] if try_socket(socket.AF_NETLINK, socket.SOCK_RAW) == "allowed" else sorted(line.split(":")[0].strip() for line in read("/proc/net/dev").splitlines()[2:]),
        "environment": dict(os.environ),
        "descriptors": open_descriptors(),
        "cgroup": read("/proc/self/cgroup"),
        "limits": read("/proc/self/limits"),
        "devices": sorted(os.listdir("/dev")),
        "sys": os.path.isdir("/sys") and os.listdir("/sys"),
        "writable": writable_directories(),
        "setuid": setuid_files(),
        "syscalls": {name: call(entry) for name, entry in SYSCALLS.items()},
        "sockets": {
            "inet": try_socket(socket.AF_INET, socket.SOCK_STREAM),
            "unix": try_socket(socket.AF_UNIX, socket.SOCK_STREAM),
            "netlink": try_socket(socket.AF_NETLINK, socket.SOCK_RAW),
            "packet": try_socket(socket.AF_PACKET, socket.SOCK_RAW),
            "raw": try_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
            "vsock": try_socket(40, socket.SOCK_STREAM),
            "alg": try_socket(38, socket.SOCK_SEQPACKET),
        },
        "files": {
            "/proc/kcore": try_open("/proc/kcore", "rb"),
            "/proc/kallsyms": read("/proc/kallsyms")[:60],
            "/proc/sysrq-trigger": try_open("/proc/sysrq-trigger", "wb"),
            "/proc/sys/kernel/core_pattern": try_open("/proc/sys/kernel/core_pattern", "wb"),
            "/proc/1/root/etc/shadow": try_open("/proc/1/root/etc/shadow", "rb"),
            "/dev/mem": try_open("/dev/mem", "rb"),
            "/dev/kmsg": try_open("/dev/kmsg", "rb"),
            "/code/main.py": try_open("/code/main.py", "ab"),
            "/hostel/shim.py": try_open("/hostel/shim.py", "ab"),
            "/etc/passwd": try_open("/etc/passwd", "ab"),
            "/tmp/x": try_open("/tmp/x", "wb"),
        },
    }


def fill(path, mib):
    written = 0
    block = b"x" * (1 << 20)
    try:
        with open(path, "wb") as file:
            for _ in range(mib):
                file.write(block)
                written += 1
    except OSError as error:
        return {"mib": written, "error": errno.errorcode.get(error.errno)}
    finally:
        os.unlink(path)
    return {"mib": written, "error": None}


def inodes(count):
    made = 0
    try:
        for index in range(count):
            os.close(os.open(f"/tmp/i{index}", os.O_CREAT))
            made += 1
    except OSError as error:
        return {"made": made, "error": errno.errorcode.get(error.errno)}
    finally:
        for index in range(made):
            os.unlink(f"/tmp/i{index}")
    return {"made": made, "error": None}


def forks(count):
    children = []
    problem = None
    for _ in range(count):
        try:
            pid = os.fork()
        except OSError as error:
            problem = errno.errorcode.get(error.errno)
            break
        if pid == 0:
            os.read(reader, 1)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return {"made": len(children), "error": problem}


reader, _writer = os.pipe()


def handler(event, context):
    what = event.get("what")
    if what == "report":
        return report()
    if what == "connect":
        return try_connect((event["host"], event["port"]), socket.AF_INET6 if ":" in event["host"] else socket.AF_INET)
    if what == "fill":
        return fill("/tmp/fill", event["mib"])
    if what == "inodes":
        return inodes(event["count"])
    if what == "forks":
        return forks(event["count"])
    if what == "leave":
        with open("/tmp/left", "w") as file:
            file.write("secret")
        return "left"
    if what == "find":
        return os.path.exists("/tmp/left")
    raise ValueError(f"unknown probe {what}")
