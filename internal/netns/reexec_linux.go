package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoUserNamespace says that this account may not make the namespaces.
var ErrNoUserNamespace = errors.New("no permission to make a user namespace: as root run 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0' (Ubuntu) or 'sysctl -w kernel.unprivileged_userns_clone=1' (Debian) or 'sysctl -w user.max_user_namespaces=10000', in a container add --security-opt seccomp=unconfined, or run as root")

// Isolated prepares cmd to start in a fresh network namespace in which it has
// every capability: as root directly, otherwise inside a new user namespace
// where the caller's account appears as root (user_namespaces(7)). The child
// gets SIGKILL when the parent's thread dies.
func Isolated(cmd *exec.Cmd) {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if !hasSysAdmin() {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
}

// StartError explains an error of starting a command that Isolated prepared.
func StartError(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", ErrNoUserNamespace, err)
	}
	return err
}

// LoopbackUp sets lo up in the calling thread's network namespace.
func LoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// hasSysAdmin reports whether the process holds CAP_SYS_ADMIN and CAP_NET_ADMIN.
func hasSysAdmin() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	need := uint32(1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN)
	return data[0].Effective&need == need
}
