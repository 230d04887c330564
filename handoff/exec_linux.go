package handoff

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// shell is where POSIX systems have one.
const shell = "/bin/sh"

// becomeProgram makes the shell the program: descriptor 3 is the socket that is
// descriptor 0, and $$ is what getpid will say, because exec keeps it.
const becomeProgram = `exec 3<&0; LISTEN_PID=$$; export LISTEN_PID; exec "$@"`

// shellArgs are the shell's arguments and environment for a program.
func shellArgs(argv []string, cfg *ExecConfig) (args, env []string, err error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, nil, errors.New("no program given")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(shell); err != nil {
		return nil, nil, fmt.Errorf("the program is started through %s, which is missing: %w", shell, err)
	}
	env = cfg.Env
	if env == nil {
		env = os.Environ()
	}
	name := cfg.Name
	if name == "" {
		name = "synpunch"
	}
	// The capacity is cut: the caller's array stays as it is.
	env = append(env[:len(env):len(env)], "LISTEN_FDS=1", "LISTEN_FDNAMES="+name)
	return append([]string{shell, "-c", becomeProgram, "sh", path}, argv[1:]...), env, nil
}

func execCommand(conn *net.TCPConn, argv []string, cfg *ExecConfig) (*exec.Cmd, error) {
	if cfg == nil {
		cfg = &ExecConfig{}
	}
	args, env, err := shellArgs(argv, cfg)
	if err != nil {
		return nil, err
	}
	f, err := conn.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := setBlocking(f); err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: shell, Args: args, Env: env, Dir: cfg.Dir, Stdin: f, Stdout: f, Stderr: os.Stderr}
	if cfg.Stderr != nil {
		cmd.Stderr = cfg.Stderr
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, nil
}

func replace(conn *net.TCPConn, argv []string, cfg *ExecConfig) error {
	if cfg == nil {
		cfg = &ExecConfig{}
	}
	args, env, err := shellArgs(argv, cfg)
	if err != nil {
		return err
	}
	if cfg.Dir != "" {
		if err := os.Chdir(cfg.Dir); err != nil {
			return err
		}
	}
	f, err := conn.File()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := setBlocking(f); err != nil {
		return err
	}
	// dup2 leaves the copies open across exec, all others are close-on-exec.
	// Descriptor 3 is left to the shell: here it may be the runtime's own poller.
	for to := range 2 {
		if err := unix.Dup3(int(f.Fd()), to, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	err = unix.Exec(shell, args, env)
	return errors.Join(os.NewSyscallError("execve", err), unix.SetNonblock(int(f.Fd()), true))
}

// setBlocking puts the socket in blocking mode, which all copies of its
// descriptor share: programs expect it of their standard input and output.
func setBlocking(f *os.File) error {
	return os.NewSyscallError("fcntl", unix.SetNonblock(int(f.Fd()), false))
}
