package handoff

import (
	"fmt"
	"net"
	"os"
	"os/exec"
)

// ExecConfig is the configuration of Exec and Replace.
type ExecConfig struct {
	// Env is the program's environment; nil means this process's. The variables
	// of socket activation are added.
	Env []string
	// Dir is the program's working directory. Empty means this process's.
	Dir string
	// Name is the socket's in LISTEN_FDNAMES. Empty means "synpunch".
	Name string
	// Stderr of the child, for Exec. nil means this process's.
	Stderr *os.File
}

// Exec starts a program that gets the connection and returns when it runs; call
// Wait on the result. The socket, in blocking mode, is the child's
//
//   - standard input and output, as inetd does it;
//   - descriptor 3, with LISTEN_FDS=1, LISTEN_PID and LISTEN_FDNAMES set, as
//     sd_listen_fds(3) expects it.
//
// Exec closes conn, whether it succeeds or not.
//
// The program is started through /bin/sh, which replaces itself with it: LISTEN_PID
// must be the program's own process number, which nobody knows before it is
// started. argv[0] is looked up in PATH first, so that a missing program
// is an error here.
func Exec(conn *net.TCPConn, argv []string, cfg *ExecConfig) (*exec.Cmd, error) {
	defer conn.Close()
	cmd, err := execCommand(conn, argv, cfg)
	if err != nil {
		return nil, fmt.Errorf("handoff: start a program with the connection: %w", err)
	}
	return cmd, nil
}

// Replace is Exec in place of this process, which ends without running deferred
// calls: flush and close everything before. It returns only if it fails.
func Replace(conn *net.TCPConn, argv []string, cfg *ExecConfig) error {
	return fmt.Errorf("handoff: replace this process with a program: %w", replace(conn, argv, cfg))
}
