package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/rawtcp"
	"github.com/synpunch/synpunch/timing"
)

// stampWait is how long a datagram on lo may take to come back with its stamps;
// chosen by us: it takes microseconds.
const stampWait = time.Second

func gather(ctx context.Context) *Facts {
	f := &Facts{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), UID: os.Getuid()}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		f.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	f.program()
	f.status()
	f.Undumpable = undumpable()
	f.InitialUserNS = initialUserNS()
	f.Container = container(f.Kernel)
	f.sysctls()
	f.sockets()
	f.RxStamp, f.TxStamp = tryStamps(ctx)
	f.FIFO = tryFIFO()
	f.CPULatency = outcome(tryOpen("/dev/cpu_dma_latency", os.O_WRONLY))
	clock, err := timing.Discipline()
	f.Clock, f.ClockTried = clock, outcome(err)
	f.Clocksource = line("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	f.rules()
	f.UserNS = tryUserNS()
	return f
}

// line is the content of a small file without its newline, "" if it cannot be read.
func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func tryOpen(path string, flag int) error {
	file, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

func (f *Facts) program() {
	path, err := os.Executable()
	if err != nil {
		return
	}
	f.Program = path
	f.ProgramTemp = strings.Contains(path, string(filepath.Separator)+"go-build")
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) == nil {
		f.ProgramNoSuid = fs.Flags&unix.ST_NOSUID != 0
	}
}

// status reads what proc_pid_status(5) tells about the process.
func (f *Facts) status() {
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return
	}
	seen := 0
	for l := range strings.SplitSeq(string(b), "\n") {
		key, value, _ := strings.Cut(l, ":")
		value = strings.TrimSpace(value)
		hex := func(to *uint64) {
			if n, err := strconv.ParseUint(value, 16, 64); err == nil {
				*to = n
				seen++
			}
		}
		switch key {
		case "CapEff":
			hex(&f.Effective)
		case "CapPrm":
			hex(&f.Permitted)
		case "CapBnd":
			hex(&f.Bounding)
		case "NoNewPrivs":
			f.NoNewPrivs = value == "1"
		case "Seccomp":
			f.Seccomp, _ = strconv.Atoi(value) // 0, off, is right for what is not a number
		}
	}
	f.CapsKnown = seen == 3
}

// initialUserNS: user_namespaces(7), the initial namespace maps every id to itself.
func initialUserNS() Answer {
	fields := strings.Fields(line("/proc/self/uid_map"))
	switch {
	case len(fields) == 0:
		return Unknown
	case len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295":
		return Yes
	}
	return No
}

// container looks for the marks that container managers leave.
func container(kernel string) string {
	for path, name := range map[string]string{"/.dockerenv": "docker", "/run/.containerenv": "podman"} {
		if _, err := os.Stat(path); err == nil {
			return name
		}
	}
	// systemd.io/CONTAINER_INTERFACE.
	if name := line("/run/systemd/container"); name != "" {
		return name
	}
	if name := os.Getenv("container"); name != "" {
		return name
	}
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return "kubernetes"
	}
	cgroup := line("/proc/self/cgroup")
	for _, name := range []string{"docker", "kubepods", "libpod", "lxc"} {
		if strings.Contains(cgroup, name) {
			return name
		}
	}
	if strings.Contains(strings.ToLower(kernel), "microsoft") {
		return "wsl"
	}
	return ""
}

func (f *Facts) sysctls() {
	f.Sysctl = map[string]string{}
	for _, key := range []string{
		"net/ipv4/ip_local_port_range", "net/ipv4/ip_local_reserved_ports",
		"net/ipv4/tcp_timestamps", "net/ipv4/tcp_sack", "net/ipv4/tcp_window_scaling",
		"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter",
		"net/ipv6/conf/all/disable_ipv6",
		"net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max",
		"kernel/unprivileged_userns_clone", "kernel/apparmor_restrict_unprivileged_userns",
		"user/max_user_namespaces",
	} {
		if b, err := os.ReadFile("/proc/sys/" + key); err == nil {
			f.Sysctl[key] = strings.TrimSpace(string(b))
		}
	}
}

func (f *Facts) sockets() {
	live, err := capture.Open("", &capture.Config{BufferBytes: 1 << 20})
	if err == nil {
		err = live.Close()
	}
	f.Packet = outcome(err)
	raw := func(network string) Tried {
		c, err := rawtcp.Open(network, nil)
		if err == nil {
			err = c.Close()
		}
		return outcome(err)
	}
	f.Raw4, f.Raw6 = raw("ip4"), raw("ip6")
	_, err = handoff.ProbeRepair()
	f.Repair = outcome(err)

	lo, err := net.InterfaceByName("lo")
	switch {
	case err != nil:
		f.Loopback = Tried{Answer: Unknown, Error: err.Error()}
	case lo.Flags&net.FlagUp == 0:
		f.Loopback = Tried{Answer: No, Error: "lo is down"}
	default:
		f.Loopback = Tried{Answer: Yes}
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	f.IPv6 = outcome(err)
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsGlobalUnicast() && !n.IP.IsPrivate() {
			f.IPv6Global = true
		}
	}
}

// tryStamps sends a datagram to itself on lo and looks for the kernel's stamps:
// SO_TIMESTAMPNS for what comes in, SO_TIMESTAMPING for what goes out (socket(7),
// Documentation/networking/timestamping.rst).
func tryStamps(ctx context.Context) (rx, tx Tried) {
	fail := func(err error) (Tried, Tried) { return outcome(err), outcome(err) }
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fail(fmt.Errorf("socket: %w", err))
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fail(fmt.Errorf("bind: %w", err))
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return fail(fmt.Errorf("getsockname: %w", err))
	}
	rxErr := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	txErr := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING,
		unix.SOF_TIMESTAMPING_TX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE|unix.SOF_TIMESTAMPING_OPT_TSONLY)
	if err := unix.Sendto(fd, []byte{0}, 0, self); err != nil {
		return fail(fmt.Errorf("send on lo: %w", err))
	}
	look := func(flags int, kind int32, sockopt error) Tried {
		if sockopt != nil {
			return outcome(fmt.Errorf("setsockopt: %w", sockopt))
		}
		var oob [512]byte
		deadline := time.Now().Add(stampWait)
		for {
			_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 16), oob[:], flags|unix.MSG_DONTWAIT)
			if err == nil {
				if hasStamp(oob[:n], kind) {
					return Tried{Answer: Yes}
				}
				return Tried{Answer: No, Error: "the datagram came without a stamp"}
			}
			left := time.Until(deadline)
			if err != unix.EAGAIN && err != unix.EINTR || left <= 0 || ctx.Err() != nil {
				return Tried{Answer: Unknown, Error: fmt.Sprintf("nothing came back on lo: %v", err)}
			}
			// POLLERR, the error queue, is reported without being asked for.
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
				return outcome(fmt.Errorf("poll: %w", err))
			}
		}
	}
	rx = look(0, unix.SO_TIMESTAMPNS, rxErr)
	tx = look(unix.MSG_ERRQUEUE, unix.SO_TIMESTAMPING, txErr)
	return rx, tx
}

// hasStamp looks for a control message with a time that is not zero.
func hasStamp(oob []byte, kind int32) bool {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == kind && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			return !bytes.Equal(m.Data, make([]byte, len(m.Data)))
		}
	}
	return false
}

// tryFIFO makes the thread real time for a moment.
func tryFIFO() Tried {
	th, err := timing.OpenThread(&timing.Config{Realtime: true})
	if err != nil {
		return Tried{Answer: Unknown, Error: err.Error()}
	}
	on := th.Realtime()
	if err := th.Close(); err != nil {
		return Tried{Answer: Unknown, Error: err.Error()}
	}
	if !on {
		return Tried{Answer: No, Errno: int(unix.EPERM), Error: "not allowed"}
	}
	return Tried{Answer: Yes}
}

// rules lists the base chains of nftables and the tables of its predecessor.
func (f *Facts) rules() {
	chains, err := stateful()
	f.Chains, f.ChainsTried = chains, outcome(err)
	b, err := os.ReadFile("/proc/net/ip_tables_names")
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.LegacyTried = Tried{Answer: Yes}
	case err != nil:
		f.LegacyTried = outcome(err)
	default:
		f.Legacy, f.LegacyTried = strings.Fields(string(b)), Tried{Answer: Yes}
	}
}

// families is nft(8)'s spelling.
var families = map[nftables.TableFamily]string{
	nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet",
	nftables.TableFamilyARP: "arp", nftables.TableFamilyBridge: "bridge", nftables.TableFamilyNetdev: "netdev",
}

func stateful() ([]Chain, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	list, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	hooks := map[nftables.ChainHook]string{
		*nftables.ChainHookPrerouting: "prerouting", *nftables.ChainHookInput: "input",
		*nftables.ChainHookForward: "forward", *nftables.ChainHookOutput: "output",
		*nftables.ChainHookPostrouting: "postrouting",
	}
	var chains []Chain
	for _, ch := range list {
		out := Chain{Family: families[ch.Table.Family], Table: ch.Table.Name, Name: ch.Name, Type: string(ch.Type)}
		if ch.Hooknum != nil {
			out.Hook = hooks[*ch.Hooknum]
		}
		out.Drop = ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
		out.Stateful = ch.Type == nftables.ChainTypeNAT
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return chains, err
		}
		for _, rule := range rules {
			for _, e := range rule.Exprs {
				switch e := e.(type) {
				case *expr.Ct:
					out.Stateful = true
				case *expr.Match: // iptables-nft
					out.Stateful = out.Stateful || e.Name == "conntrack" || e.Name == "state"
				}
			}
		}
		if out.Hook != "" || out.Stateful {
			chains = append(chains, out)
		}
	}
	return chains, nil
}

func undumpable() bool {
	d, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return err == nil && d != 1 // SUID_DUMP_USER
}

// tryUserNS makes a user namespace with a network namespace for a process whose
// program does not exist: execve's ENOENT is the proof that all went well before.
func tryUserNS() Tried {
	// After execve of a file with capabilities /proc/PID belongs to root (proc(5)),
	// and with it the uid_map that has to be written. That is no matter of the
	// system's permission, which is the question here.
	if undumpable() && unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) == nil {
		defer unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	}
	_, err := os.StartProcess("/proc/self/no-such-program", []string{"none"}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		},
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return Tried{Answer: Yes}
	case err == nil:
		return Tried{Answer: Unknown, Error: "a program that is not there was started"}
	}
	return outcome(cloneError(err))
}

// cloneError is what starting a process in new namespaces failed with, without
// the name of the program, which would only confuse.
func cloneError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return fmt.Errorf("a user namespace: %w", errno)
	}
	return err
}

// runIsolated runs cmd in the namespaces that the demo would use.
func runIsolated(cmd *exec.Cmd) error {
	netns.Isolated(cmd)
	done := make(chan error, 1)
	go func() {
		// PR_SET_PDEATHSIG follows the thread that starts the child (prctl(2)); never
		// unlocked, the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			done <- cloneError(err)
			return
		}
		done <- cmd.Wait()
	}()
	return <-done
}

// tryLab does once what the lab does for each of its nodes: a network namespace
// with forwarding, a link into it, address translation.
func tryLab() Tried {
	if err := netns.LoopbackUp(); err != nil {
		return outcome(err)
	}
	ns, err := netns.New()
	if err != nil {
		return outcome(err)
	}
	defer ns.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "doctor1", PeerNamespace: netlink.NsFd(ns.Fd())}
	veth.Name = "doctor0"
	if err := netlink.LinkAdd(veth); err != nil {
		return outcome(fmt.Errorf("make a veth pair: %w", err))
	}
	return outcome(ns.Do(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open nftables: %w", err)
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "doctor"})
		chain := c.AddChain(&nftables.Chain{Name: "nat", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Masq{}}})
		if err := c.Flush(); err != nil {
			return fmt.Errorf("make a masquerading rule: %w", err)
		}
		return nil
	}))
}
