package netns

import (
	"errors"
	"os"
)

// ErrNoUserNamespace says that this account may not make the namespaces.
var ErrNoUserNamespace = errors.New("no permission to make a user namespace: as root run 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0' (Ubuntu) or 'sysctl -w kernel.unprivileged_userns_clone=1' (Debian) or 'sysctl -w user.max_user_namespaces=10000', in a container add --security-opt seccomp=unconfined, or run as root")

// isolatedEnv is set in a process that RunIsolated started, to the process id of
// its parent: a value that its own children inherit means nothing.
const isolatedEnv = "SYNPUNCH_ISOLATED_BY"

// InIsolation reports whether RunIsolated started this process.
func InIsolation() bool { return os.Getenv(isolatedEnv) == parent() }
