package doctor

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Capability numbers, given by include/uapi/linux/capability.h.
const (
	capNetAdmin = 12
	capNetRaw   = 13
	capSysAdmin = 21
	capSysNice  = 23
)

// capWord is how setcap(8), systemd.exec(5) and docker-run(1) spell a capability.
var capWord = map[int]string{
	capNetAdmin: "NET_ADMIN", capNetRaw: "NET_RAW", capSysAdmin: "SYS_ADMIN", capSysNice: "SYS_NICE",
}

// Kernel 6.11 took 23e89e8ee7be, 'tcp: Don't drop SYN+ACK for simultaneous
// connect()'; some older stable series have it as well.
const crossingMajor, crossingMinor = 6, 11

// judge says what the facts mean. inside are the facts from within the demo's
// namespaces, nil when nobody looked.
func judge(f, inside *Facts) Result {
	r := Result{
		Version: Version,
		Machine: Machine{OS: f.OS, Kernel: f.Kernel, Arch: f.Arch, CPUs: f.CPUs, UID: f.UID, Container: f.Container, Program: f.Program},
		Demo:    Unknown,
	}
	if f.OS != "linux" {
		return elsewhere(f, r)
	}
	j := &judgement{f: f}
	j.privileges()
	j.sockets()
	j.time()
	j.network()
	j.lab(inside)
	r.Checks = j.checks
	r.Demo = j.answer("demo")
	if inside != nil && inside.CapsKnown {
		in := &judgement{f: inside}
		in.sockets()
		in.add(tried("lab", "lab", "links, forwarding and NAT", Needed, inside.Lab))
		r.Inside = in.checks
	}
	r.Engines = j.engines()
	for _, e := range r.Engines {
		if e.Works == Yes {
			r.Best = e.Engine
			break
		}
	}
	return r
}

// elsewhere is the result on systems other than Linux.
func elsewhere(f *Facts, r Result) Result {
	r.Checks = []Check{{ID: "linux", Group: "system", Title: "Linux", Answer: No, Level: Needed,
		Detail: "punching and the demo need Linux; analyze and the libraries' pure parts work on " + f.OS}}
	for _, name := range []string{"repair", "park", "connect"} {
		r.Engines = append(r.Engines, Engine{Engine: name, Works: No, Missing: []string{"linux"}, Detail: "needs Linux"})
	}
	r.Demo = No
	return r
}

type judgement struct {
	f      *Facts
	checks []Check
}

func (j *judgement) add(c Check) { j.checks = append(j.checks, c) }

// answer of a check that was made before.
func (j *judgement) answer(id string) Answer {
	for _, c := range j.checks {
		if c.ID == id {
			return c.Answer
		}
	}
	return Unknown
}

// tried is a check about something that was tried.
func tried(id, group, title string, level Level, t Tried) Check {
	c := Check{ID: id, Group: group, Title: title, Level: level, Answer: t.Answer}
	if t.Answer == "" {
		c.Answer = Unknown
	}
	if c.Answer != Yes {
		c.Detail = t.Error
	}
	return c
}

func (t Tried) denied() bool {
	return t.Errno == int(syscall.EPERM) || t.Errno == int(syscall.EACCES)
}

// privileges

func (j *judgement) privileges() {
	f := j.f
	for _, c := range []struct {
		cap   int
		level Level
		what  string
	}{
		{capNetRaw, Needed, "raw and packet sockets: engines repair and park, the capture"},
		{capNetAdmin, Needed, "TCP_REPAIR: engine repair"},
		{capSysNice, Helps, "SCHED_FIFO: --rt"},
		{capSysAdmin, Info, "namespaces without a user namespace"},
	} {
		check := Check{
			ID: "cap-" + strings.ToLower(strings.ReplaceAll(capWord[c.cap], "_", "-")), Group: "privileges",
			Title: "CAP_" + capWord[c.cap], Level: c.level, Detail: c.what,
		}
		switch {
		case !f.CapsKnown:
			check.Answer = Unknown
		case f.has(c.cap):
			check.Answer = Yes
		default:
			check.Answer = No
			check.Fix = f.grant(c.cap)
		}
		if c.cap == capSysAdmin {
			check.Fix = nil // nobody should need it: see user-namespace
		}
		j.add(check)
	}
	nnp := Check{ID: "no-new-privs", Group: "privileges", Title: "file capabilities take effect", Level: Info, Answer: Yes}
	switch {
	case f.NoNewPrivs:
		nnp.Answer, nnp.Detail = No, "no_new_privs is set: setcap and sudo have no effect below this process"
	case f.ProgramNoSuid:
		nnp.Answer, nnp.Detail = No, "the program is on a file system mounted nosuid"
	}
	j.add(nnp)
	sec := Check{ID: "seccomp", Group: "privileges", Title: "system calls are not filtered (seccomp)", Level: Info, Answer: Yes}
	if f.Seccomp != 0 {
		sec.Answer, sec.Detail = No, "a filter may forbid namespaces and sockets whatever the capabilities say"
	}
	j.add(sec)
}

func (f *Facts) has(c int) bool { return f.Effective&(1<<c) != 0 }

// grant says how the missing capability is had, the way that fits here first. File
// capabilities are one set: a second setcap replaces the first, so each command
// names all that is missing.
func (f *Facts) grant(c int) []string {
	var missing []int
	for _, w := range []int{capNetRaw, capNetAdmin, capSysNice} {
		if w == c || f.CapsKnown && !f.has(w) {
			missing = append(missing, w)
		}
	}
	if c != capSysNice { // helps only: not asked for unless it is the question
		missing = slices.DeleteFunc(missing, func(w int) bool { return w == capSysNice })
	}
	var lower, unit, docker []string
	bounded := true
	for _, w := range missing {
		lower = append(lower, "cap_"+strings.ToLower(capWord[w]))
		unit = append(unit, "CAP_"+capWord[w])
		docker = append(docker, "--cap-add "+capWord[w])
		bounded = bounded && f.Bounding&(1<<w) != 0
	}
	// A capability that the program holds already must be named too.
	for _, w := range []int{capNetRaw, capNetAdmin, capSysNice} {
		if !slices.Contains(missing, w) && f.has(w) && f.UID != 0 {
			lower = append(lower, "cap_"+strings.ToLower(capWord[w]))
		}
	}
	slices.Sort(lower)
	program := f.Program
	if program == "" || f.ProgramTemp || f.ProgramNoSuid {
		program = "PATH"
	}
	setcap := fmt.Sprintf("sudo setcap %s+ep %s", strings.Join(lower, ","), quote(program))
	switch {
	case f.ProgramTemp:
		setcap += "   (build it first, 'go build -o PATH ./cmd/synpunch': what go run makes is gone afterwards)"
	case f.ProgramNoSuid:
		setcap += "   (copy the program first: where it is now is mounted nosuid, which ignores file capabilities)"
	}
	systemd := fmt.Sprintf("systemd unit: AmbientCapabilities=%s", strings.Join(unit, " "))
	container := fmt.Sprintf("container: docker run %s ...", strings.Join(docker, " "))
	var limits []string
	if c == capSysNice { // sched(7): a limit does it as well
		limits = []string{"systemd unit: LimitRTPRIO=1", "container: docker run --ulimit rtprio=1 ..."}
	}
	if f.InitialUserNS == No && f.Container == "" {
		return []string{"start it outside of this user namespace, or in one that has a network of its own: unshare -Urn"}
	}
	switch {
	case !bounded:
		// capabilities(7): file capabilities are masked with the bounding set.
		return append([]string{container, systemd + " and the same in CapabilityBoundingSet="}, limits...)
	case f.NoNewPrivs:
		return append([]string{systemd, container}, limits...)
	}
	return append([]string{setcap, systemd, container}, limits...)
}

// quote makes one shell word of a path.
func quote(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-+@%:,=", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// sockets

func (j *judgement) sockets() {
	f := j.f
	const group = "sockets"
	packet := tried("packet-socket", group, "packet sockets", Needed, f.Packet)
	raw4 := tried("raw-ipv4", group, "raw IPv4 sockets", Needed, f.Raw4)
	raw6 := tried("raw-ipv6", group, "raw IPv6 sockets", Helps, f.Raw6)
	for _, c := range []struct {
		check *Check
		tried Tried
	}{{&packet, f.Packet}, {&raw4, f.Raw4}, {&raw6, f.Raw6}} {
		if c.check.Answer == No && c.tried.denied() {
			j.refused(c.check, capNetRaw)
		}
	}
	repair := tried("tcp-repair", group, "TCP_REPAIR", Needed, f.Repair)
	if repair.Answer == No && f.Repair.denied() {
		j.refused(&repair, capNetAdmin)
	}
	lo := tried("loopback", group, "loopback is up", Needed, f.Loopback)
	if lo.Answer == No {
		lo.Detail = "engine park holds the kernel's SYN there"
		lo.Fix = []string{"sudo ip link set lo up"}
	}
	v6 := tried("ipv6", group, "IPv6", Info, f.IPv6)
	switch {
	case v6.Answer == Yes && !f.IPv6Global:
		v6.Detail = "no global address"
	case f.Sysctl["net/ipv6/conf/all/disable_ipv6"] == "1":
		v6.Answer, v6.Detail = No, "switched off"
		v6.Fix = []string{"sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0"}
	}
	j.checks = append(j.checks, packet, raw4, raw6, repair, lo, v6)
}

// refused explains a refusal: the capability is missing, or it is there and
// something else refuses.
func (j *judgement) refused(c *Check, capability int) {
	f := j.f
	name := "CAP_" + capWord[capability]
	switch {
	case !f.CapsKnown:
		c.Detail = "needs " + name
		c.Fix = f.grant(capability)
	case !f.has(capability):
		c.Detail = "needs " + name
		c.Fix = f.grant(capability)
	case f.InitialUserNS == No:
		c.Detail = name + " is there, but not over this network: the user namespace does not own the network namespace"
		c.Fix = []string{"unshare -Urn: a user namespace with a network of its own", "run it on the host"}
	case f.Seccomp != 0:
		c.Detail = name + " is there, and yet refused: perhaps by the seccomp filter"
		c.Fix = []string{"container: docker run --security-opt seccomp=unconfined ..."}
	default:
		// CRIU issue 2744: TCP_REPAIR gave EPERM on one 6.16.7 kernel, cause unknown.
		c.Detail = name + " is there, and yet the kernel refuses (a security module?): " + c.Detail
	}
}

// time

func (j *judgement) time() {
	f := j.f
	const group = "time"
	clock := tried("clock", group, "clock is synchronised", Helps, f.ClockTried)
	if clock.Answer == Yes {
		if f.Clock.Synchronised {
			clock.Detail = fmt.Sprintf("at most %v off, by its own estimate %v", round(f.Clock.MaxError), round(f.Clock.EstError))
			if f.Clock.Leap != "" {
				clock.Detail += ", leap second: " + f.Clock.Leap
			}
		} else {
			clock.Answer = No
			clock.Detail = "two hosts that agree on an instant by their clocks will miss each other"
			clock.Fix = []string{"sudo timedatectl set-ntp true", "install and start chrony"}
			if f.Container != "" {
				clock.Fix = []string{"on the host: sudo timedatectl set-ntp true"}
			}
		}
	}
	j.add(clock)
	j.add(tried("rx-timestamps", group, "kernel stamps what comes in", Helps, f.RxStamp))
	j.add(tried("tx-timestamps", group, "kernel stamps what goes out", Helps, f.TxStamp))

	fifo := tried("sched-fifo", group, "SCHED_FIFO", Helps, f.FIFO)
	if fifo.Answer == No {
		fifo.Detail = "without it a busy machine delays the send by milliseconds"
		switch {
		case !f.has(capSysNice):
			fifo.Fix = f.grant(capSysNice)
		case f.InitialUserNS == No:
			fifo.Detail += "; CAP_SYS_NICE does not count in a user namespace"
		default:
			// sched(7): with CONFIG_RT_GROUP_SCHED a cgroup has a real-time budget of its own, 0 at first.
			fifo.Fix = []string{"give the cgroup real-time runtime: echo 950000 | sudo tee /sys/fs/cgroup/cpu/GROUP/cpu.rt_runtime_us"}
		}
	}
	j.add(fifo)
	latency := tried("cpu-latency", group, "/dev/cpu_dma_latency", Helps, f.CPULatency)
	if latency.Answer == No {
		latency.Detail = "processors may sleep deeply before the instant: some tens of µs in the worst case"
		switch {
		case f.CPULatency.denied():
			latency.Fix = []string{"sudo chmod 0666 /dev/cpu_dma_latency   (until the next boot)"}
		case f.Container != "":
			latency.Fix = []string{"container: docker run --device /dev/cpu_dma_latency ..."}
		}
	}
	j.add(latency)
	source := Check{ID: "clocksource", Group: group, Title: "clock is read without a system call", Level: Info, Answer: Unknown, Detail: f.Clocksource}
	switch f.Clocksource {
	case "":
	case "tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter":
		source.Answer = Yes
	default:
		source.Answer = No
		source.Detail += ": watching the clock is coarser by a microsecond or so"
	}
	j.add(source)
}

// network

func (j *judgement) network() {
	f := j.f
	const group = "network"
	crossing := Check{ID: "kernel-crossing", Group: group, Title: "kernel answers crossed SYNs at once", Level: Info, Answer: Unknown}
	if major, minor, ok := kernelVersion(f.Kernel); ok {
		if major > crossingMajor || major == crossingMajor && minor >= crossingMinor {
			crossing.Answer = Yes
		} else {
			crossing.Detail = "before 6.11 (unless backported) it drops the crossed SYN-ACK and goes on after a challenge ACK: one round trip more for park and connect"
		}
	}
	j.add(crossing)
	for _, s := range []struct{ id, title, key, without string }{
		{"tcp-timestamps", "TCP timestamps", "net/ipv4/tcp_timestamps", "park and connect send none"},
		{"tcp-sack", "TCP SACK", "net/ipv4/tcp_sack", "park and connect do not offer it"},
		{"tcp-window-scaling", "TCP window scaling", "net/ipv4/tcp_window_scaling", "windows of 64 KiB at most with park and connect"},
	} {
		c := Check{ID: s.id, Group: group, Title: s.title, Level: Helps, Answer: Unknown}
		switch value, ok := f.Sysctl[s.key]; {
		case !ok:
		case value == "0":
			c.Answer, c.Detail = No, s.without
			c.Fix = []string{fmt.Sprintf("sudo sysctl -w %s=1", strings.ReplaceAll(s.key, "/", "."))}
		default:
			c.Answer = Yes
		}
		j.add(c)
	}
	j.add(f.ports())
	j.add(f.rpFilter())
	j.add(f.firewall())
	j.add(f.conntrack())
}

// kernelVersion reads "6.18.44-generic".
func kernelVersion(release string) (major, minor int, ok bool) {
	a, rest, _ := strings.Cut(release, ".")
	b, _, _ := strings.Cut(rest, ".")
	if i := strings.IndexFunc(b, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		b = b[:i]
	}
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, err1 == nil && err2 == nil
}

func (f *Facts) ports() Check {
	c := Check{ID: "ports", Group: "network", Title: "local port range", Level: Info, Answer: Unknown}
	fields := strings.Fields(f.Sysctl["net/ipv4/ip_local_port_range"])
	if len(fields) != 2 {
		return c
	}
	reserved := f.Sysctl["net/ipv4/ip_local_reserved_ports"]
	if reserved == "" {
		reserved = "none"
	}
	c.Answer = Yes
	c.Detail = fmt.Sprintf("other programs are given %s to %s (reserved: %s): take a --local port outside", fields[0], fields[1], reserved)
	return c
}

func (f *Facts) rpFilter() Check {
	c := Check{ID: "rp-filter", Group: "network", Title: "answers may come by another interface", Level: Info, Answer: Unknown}
	// ip-sysctl.rst: "The max value from conf/{all,interface}/rp_filter is used".
	switch f.Sysctl["net/ipv4/conf/all/rp_filter"] {
	case "0", "2":
		c.Answer = Yes
		if f.Sysctl["net/ipv4/conf/default/rp_filter"] == "1" {
			c.Answer, c.Detail = No, "rp_filter is strict on interfaces made from now on; no harm with one uplink"
		}
	case "1":
		c.Answer, c.Detail = No, "rp_filter is strict; no harm with one uplink"
	}
	return c
}

// firewall is about rules of this host that look at connections.
func (f *Facts) firewall() Check {
	c := Check{ID: "host-firewall", Group: "network", Title: "this host's firewall lets SYNs in", Level: Info, Answer: Unknown}
	var found []string
	var input *Chain
	for i, ch := range f.Chains {
		if ch.Hook == "input" && ch.Drop && input == nil {
			input = &f.Chains[i]
		}
		if ch.Stateful {
			found = append(found, fmt.Sprintf("%s %s %s", ch.Family, ch.Table, ch.Name))
		}
	}
	for _, t := range f.Legacy {
		if t == "filter" || t == "nat" {
			found = append(found, "iptables "+t)
		}
	}
	_, loaded := f.Sysctl["net/netfilter/nf_conntrack_max"]
	switch {
	case len(found) > 0 || input != nil:
		c.Answer = No
		c.Detail = "it acts like a NAT that drops: the peer's SYN passes once ours has left"
		if len(found) > 0 {
			if len(found) > 3 {
				found = append(found[:3:3], fmt.Sprintf("and %d more", len(found)-3))
			}
			c.Detail += " (" + strings.Join(found, ", ") + ")"
		}
		if input != nil {
			c.Fix = []string{fmt.Sprintf("sudo nft insert rule %s %s %s ip saddr PEER tcp dport PORT accept   (only if the peer's SYN may come first)", input.Family, input.Table, input.Name)}
		}
	case !loaded:
		c.Answer, c.Detail = Yes, "conntrack is not loaded"
	case f.ChainsTried.Answer == Yes && f.LegacyTried.Answer == Yes:
		c.Answer = Yes
	default:
		c.Detail = "conntrack is loaded; only root sees the rules"
	}
	return c
}

func (f *Facts) conntrack() Check {
	c := Check{ID: "conntrack-table", Group: "network", Title: "conntrack has room", Level: Info, Answer: Unknown}
	countText, ok1 := f.Sysctl["net/netfilter/nf_conntrack_count"]
	maxText, ok2 := f.Sysctl["net/netfilter/nf_conntrack_max"]
	if !ok1 || !ok2 {
		if _, ok := f.Sysctl["net/ipv4/ip_local_port_range"]; ok { // then /proc/sys is to be seen
			c.Answer, c.Detail = Yes, "it is not loaded"
		}
		return c
	}
	n, err1 := strconv.Atoi(countText)
	limit, err2 := strconv.Atoi(maxText)
	if err1 != nil || err2 != nil {
		return c
	}
	c.Answer = Yes
	c.Detail = fmt.Sprintf("%d of %d entries", n, limit)
	// A flow needs one entry; leave some for everybody else.
	if limit > 0 && n > limit-limit/10 {
		c.Answer = No
		c.Fix = []string{fmt.Sprintf("sudo sysctl -w net.netfilter.nf_conntrack_max=%d", 2*limit)}
	}
	return c
}

// lab

func (j *judgement) lab(inside *Facts) {
	f := j.f
	ns := tried("user-namespace", "lab", "user namespaces", Info, f.UserNS)
	if ns.Answer == No {
		ns.Fix = f.grantUserNS(f.UserNS)
	}
	j.add(ns)
	demo := Check{ID: "demo", Group: "lab", Title: "synpunch demo", Level: Helps, Answer: Unknown}
	root := f.has(capSysAdmin) && f.has(capNetAdmin) // then the demo makes its namespaces without a user namespace
	switch {
	case inside == nil && ns.Answer == No && !root:
		demo.Answer, demo.Detail, demo.Fix = No, "needs a user namespace, or root", ns.Fix
	case inside == nil:
		demo.Detail = "not tried"
	case !inside.CapsKnown:
		demo.Answer, demo.Detail = inside.UserNS.Answer, inside.UserNS.Error
		switch {
		case demo.Answer != No:
		case f.Undumpable && inside.UserNS.Errno == int(syscall.EACCES):
			demo.Detail = "the program's file capabilities keep it from setting up a user namespace: " + demo.Detail
			demo.Fix = []string{fmt.Sprintf("cp %s DIR && DIR/%s demo   (a copy has no file capabilities, and the demo needs none)",
				quote(f.Program), quote(path.Base(f.Program)))}
		default:
			demo.Fix = f.grantUserNS(inside.UserNS)
		}
	default:
		demo.Answer = Yes
		for _, p := range []struct {
			what string
			t    Tried
		}{
			{"packet sockets", inside.Packet}, {"raw sockets", inside.Raw4}, {"TCP_REPAIR", inside.Repair},
			{"links, forwarding and NAT", inside.Lab},
		} {
			if p.t.Answer == Yes {
				continue
			}
			demo.Answer = p.t.Answer
			if demo.Answer == "" {
				demo.Answer = Unknown
			}
			demo.Detail = fmt.Sprintf("inside its namespaces %s: %s", p.what, p.t.Error)
			switch {
			case demo.Answer == No && p.t.denied() && !root:
				// Ubuntu lets anybody make the namespace, and takes the capabilities in it away.
				demo.Fix = f.grantUserNS(p.t)
			case p.t.Errno == int(syscall.EROFS):
				demo.Fix = []string{"container: docker run --security-opt systempaths=unconfined ... (/proc/sys is read-only)"}
			case p.t.Errno == int(syscall.ENOENT) || p.t.Errno == int(syscall.EOPNOTSUPP):
				demo.Fix = []string{"sudo modprobe -a veth nf_tables nft_chain_nat nft_masq nf_conntrack"}
			}
			break
		}
	}
	j.add(demo)
}

// grantUserNS says how an ordinary account gets user namespaces that are of use.
func (f *Facts) grantUserNS(t Tried) []string {
	root := "run it as root"
	switch {
	case f.Sysctl["kernel/apparmor_restrict_unprivileged_userns"] == "1":
		return []string{"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0", root}
	case f.Sysctl["kernel/unprivileged_userns_clone"] == "0":
		return []string{"sudo sysctl -w kernel.unprivileged_userns_clone=1", root}
	case f.Sysctl["user/max_user_namespaces"] == "0" || t.Errno == int(syscall.ENOSPC) || t.Errno == int(syscall.EUSERS):
		return []string{"sudo sysctl -w user.max_user_namespaces=10000", root}
	case f.Seccomp != 0 || f.Container != "":
		return []string{"container: docker run --security-opt seccomp=unconfined ...", "container, as root: docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN ..."}
	}
	return []string{root}
}

// engines

func (j *judgement) engines() []Engine {
	engines := []Engine{
		j.engine("repair", "packet-socket", "raw-ipv4", "tcp-repair"),
		j.engine("park", "packet-socket", "raw-ipv4", "loopback"),
		j.engine("connect"),
	}
	return engines
}

// engine works when every check it needs is answered yes.
func (j *judgement) engine(name string, needs ...string) Engine {
	e := Engine{Engine: name, Works: Yes, Missing: []string{}}
	var titles []string
	for _, id := range needs {
		i := slices.IndexFunc(j.checks, func(c Check) bool { return c.ID == id })
		if i < 0 || j.checks[i].Answer == Yes {
			continue
		}
		c := j.checks[i]
		e.Missing = append(e.Missing, id)
		titles = append(titles, c.Title)
		if c.Answer == No || e.Works == Yes {
			e.Works = c.Answer
		}
	}
	if len(titles) > 0 {
		e.Detail = "missing: " + strings.Join(titles, ", ")
	}
	return e
}

// round cuts a duration to what a person reads.
func round(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d
}
