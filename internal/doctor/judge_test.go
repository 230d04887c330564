package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synpunch/synpunch/timing"
)

var (
	yes    = Tried{Answer: Yes}
	denied = Tried{Answer: No, Errno: int(syscall.EPERM), Error: "operation not permitted"}
)

const allCaps = 1<<capNetRaw | 1<<capNetAdmin | 1<<capSysNice | 1<<capSysAdmin

// rootFacts is a machine where everything works.
func rootFacts() *Facts {
	return &Facts{
		OS: "linux", Kernel: "6.18.0-generic", Arch: "amd64", CPUs: 2, Program: "/usr/bin/synpunch",
		CapsKnown: true, Effective: allCaps, Permitted: allCaps, Bounding: allCaps, InitialUserNS: Yes,
		Sysctl: map[string]string{
			"net/ipv4/ip_local_port_range": "32768\t60999", "net/ipv4/ip_local_reserved_ports": "",
			"net/ipv4/tcp_timestamps": "1", "net/ipv4/tcp_sack": "1", "net/ipv4/tcp_window_scaling": "1",
			"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "0",
			"net/ipv6/conf/all/disable_ipv6": "0",
		},
		Packet: yes, Raw4: yes, Raw6: yes, Repair: yes, Loopback: yes, IPv6: yes, IPv6Global: true,
		RxStamp: yes, TxStamp: yes, FIFO: yes, CPULatency: yes,
		Clock: timing.Clock{Synchronised: true, MaxError: 12345678, EstError: 1500}, ClockTried: yes, Clocksource: "tsc",
		ChainsTried: yes, LegacyTried: yes, UserNS: yes,
	}
}

// insideFacts is what the namespaces of a good machine give.
func insideFacts() *Facts {
	f := rootFacts()
	f.InitialUserNS = No
	f.FIFO = denied
	f.Lab = yes
	return f
}

// userFacts is an ordinary account on that machine.
func userFacts() *Facts {
	f := rootFacts()
	f.UID = 1000
	f.Effective, f.Permitted = 0, 0
	f.Packet, f.Raw4, f.Raw6, f.Repair, f.FIFO = denied, denied, denied, denied, denied
	f.CPULatency = Tried{Answer: No, Errno: int(syscall.EACCES), Error: "permission denied"}
	f.ChainsTried, f.LegacyTried = denied, denied
	return f
}

func TestEngines(t *testing.T) {
	unknown := Tried{Answer: Unknown, Error: "too many open files"}
	for name, tt := range map[string]struct {
		change             func(f *Facts)
		repair, park, best string
		exit               int
	}{
		"root":                     {func(*Facts) {}, "yes", "yes", "repair", 0},
		"no net_admin":             {func(f *Facts) { f.Effective &^= 1 << capNetAdmin; f.Repair = denied }, "no", "yes", "park", 0},
		"no net_raw":               {func(f *Facts) { f.Effective &^= 1 << capNetRaw; f.Packet, f.Raw4 = denied, denied }, "no", "no", "connect", 3},
		"ordinary account":         {func(f *Facts) { *f = *userFacts() }, "no", "no", "connect", 3},
		"capability but EPERM":     {func(f *Facts) { f.Repair = denied }, "no", "yes", "park", 0},
		"lo is down":               {func(f *Facts) { f.Loopback = Tried{Answer: No, Error: "lo is down"} }, "yes", "no", "repair", 0},
		"lo down and no repair":    {func(f *Facts) { f.Loopback, f.Repair = Tried{Answer: No}, denied }, "no", "no", "connect", 3},
		"nobody knows":             {func(f *Facts) { f.Packet = unknown }, "unknown", "unknown", "connect", 3},
		"not tried":                {func(f *Facts) { f.Packet = Tried{} }, "unknown", "unknown", "connect", 3},
		"a no beats an unknown":    {func(f *Facts) { f.Packet, f.Raw4 = unknown, denied }, "no", "no", "connect", 3},
		"no IPv6":                  {func(f *Facts) { f.Raw6, f.IPv6 = denied, denied }, "yes", "yes", "repair", 0},
		"nothing helpful is there": {func(f *Facts) { f.FIFO, f.CPULatency, f.RxStamp, f.TxStamp = denied, denied, denied, denied }, "yes", "yes", "repair", 0},
		"another system":           {func(f *Facts) { f.OS = "darwin" }, "no", "no", "", 3},
	} {
		f := rootFacts()
		tt.change(f)
		r := judge(f, nil)
		got := map[string]string{}
		for _, e := range r.Engines {
			got[e.Engine] = string(e.Works)
			if (len(e.Missing) == 0) != (e.Works == Yes) {
				t.Errorf("%s: %s works: %s, missing %v", name, e.Engine, e.Works, e.Missing)
			}
			for _, id := range e.Missing {
				if c, ok := r.Check(id); !ok || c.Answer == Yes {
					t.Errorf("%s: %s misses %s, which is %v", name, e.Engine, id, c)
				}
			}
		}
		connect := "yes"
		if f.OS != "linux" {
			connect = "no"
		}
		if diff := cmp.Diff(map[string]string{"repair": tt.repair, "park": tt.park, "connect": connect}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if r.Best != tt.best || r.ExitCode() != tt.exit {
			t.Errorf("%s: best %q, exit %d; want %q, %d", name, r.Best, r.ExitCode(), tt.best, tt.exit)
		}
	}
}

// TestEveryFactMatters flips each thing that was tried and expects an answer to change.
func TestEveryFactMatters(t *testing.T) {
	base := judge(rootFacts(), insideFacts())
	for id, flip := range map[string]func(f *Facts){
		"cap-net-raw":        func(f *Facts) { f.Effective &^= 1 << capNetRaw },
		"cap-net-admin":      func(f *Facts) { f.Effective &^= 1 << capNetAdmin },
		"cap-sys-nice":       func(f *Facts) { f.Effective &^= 1 << capSysNice },
		"cap-sys-admin":      func(f *Facts) { f.Effective &^= 1 << capSysAdmin },
		"no-new-privs":       func(f *Facts) { f.NoNewPrivs = true },
		"seccomp":            func(f *Facts) { f.Seccomp = 2 },
		"packet-socket":      func(f *Facts) { f.Packet = denied },
		"raw-ipv4":           func(f *Facts) { f.Raw4 = denied },
		"raw-ipv6":           func(f *Facts) { f.Raw6 = denied },
		"tcp-repair":         func(f *Facts) { f.Repair = denied },
		"loopback":           func(f *Facts) { f.Loopback = Tried{Answer: No} },
		"ipv6":               func(f *Facts) { f.Sysctl["net/ipv6/conf/all/disable_ipv6"] = "1" },
		"clock":              func(f *Facts) { f.Clock.Synchronised = false },
		"rx-timestamps":      func(f *Facts) { f.RxStamp = denied },
		"tx-timestamps":      func(f *Facts) { f.TxStamp = denied },
		"sched-fifo":         func(f *Facts) { f.FIFO = denied },
		"cpu-latency":        func(f *Facts) { f.CPULatency = denied },
		"clocksource":        func(f *Facts) { f.Clocksource = "hpet" },
		"kernel-crossing":    func(f *Facts) { f.Kernel = "6.1.0-18-amd64" },
		"tcp-timestamps":     func(f *Facts) { f.Sysctl["net/ipv4/tcp_timestamps"] = "0" },
		"tcp-sack":           func(f *Facts) { f.Sysctl["net/ipv4/tcp_sack"] = "0" },
		"tcp-window-scaling": func(f *Facts) { f.Sysctl["net/ipv4/tcp_window_scaling"] = "0" },
		"ports":              func(f *Facts) { delete(f.Sysctl, "net/ipv4/ip_local_port_range") },
		"rp-filter":          func(f *Facts) { f.Sysctl["net/ipv4/conf/all/rp_filter"] = "1" },
		"host-firewall": func(f *Facts) {
			f.Chains = []Chain{{Family: "inet", Table: "filter", Name: "input", Hook: "input", Drop: true}}
		},
		"conntrack-table": func(f *Facts) {
			f.Sysctl["net/netfilter/nf_conntrack_count"], f.Sysctl["net/netfilter/nf_conntrack_max"] = "10", "10"
		},
		"user-namespace": func(f *Facts) { f.UserNS = denied },
	} {
		was, ok := base.Check(id)
		if !ok {
			t.Errorf("no check %s", id)
			continue
		}
		f := rootFacts()
		flip(f)
		r := judge(f, insideFacts())
		is, _ := r.Check(id)
		if is.Answer == was.Answer {
			t.Errorf("%s: still %s", id, is.Answer)
		}
	}
	for _, c := range base.Checks {
		if c.Answer != Yes {
			t.Errorf("on a good machine %s is %s", c.ID, c.Answer)
		}
	}
}

// What is missing and matters comes with a way to get it, and what is there without.
func TestEveryNoHasAFix(t *testing.T) {
	for name, f := range map[string]*Facts{"root": rootFacts(), "ordinary account": userFacts()} {
		r := judge(f, nil)
		for _, c := range r.Checks {
			switch {
			case c.Answer == No && c.Level != Info && len(c.Fix) == 0:
				t.Errorf("%s: no fix for %s", name, c.ID)
			case c.Answer == Yes && len(c.Fix) > 0:
				t.Errorf("%s: a fix for %s, which is there", name, c.ID)
			}
		}
	}
}

func TestGrant(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(f *Facts)
		cap    int
		want   []string // beginnings
	}{
		"ordinary account": {func(*Facts) {}, capNetRaw, []string{
			"sudo setcap cap_net_admin,cap_net_raw+ep /usr/bin/synpunch",
			"systemd unit: AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN",
			"container: docker run --cap-add NET_RAW --cap-add NET_ADMIN ...",
		}},
		"real time as well": {func(*Facts) {}, capSysNice, []string{
			"sudo setcap cap_net_admin,cap_net_raw,cap_sys_nice+ep /usr/bin/synpunch", "systemd unit: ", "container: ",
			"systemd unit: LimitRTPRIO=1", "container: docker run --ulimit rtprio=1 ...",
		}},
		// setcap replaces: what the file has must be named again.
		"net_raw is there": {func(f *Facts) { f.Effective = 1 << capNetRaw }, capNetAdmin, []string{
			"sudo setcap cap_net_admin,cap_net_raw+ep /usr/bin/synpunch",
			"systemd unit: AmbientCapabilities=CAP_NET_ADMIN", "container: docker run --cap-add NET_ADMIN ...",
		}},
		"a path with a quote": {func(f *Facts) { f.Program = "/srv/o'neil/my bin/synpunch" }, capNetRaw, []string{
			`sudo setcap cap_net_admin,cap_net_raw+ep '/srv/o'\''neil/my bin/synpunch'`, "systemd", "container",
		}},
		"go run": {func(f *Facts) { f.Program, f.ProgramTemp = "/tmp/go-build1/b001/exe/synpunch", true }, capNetRaw, []string{
			"sudo setcap cap_net_admin,cap_net_raw+ep PATH   (build it first", "systemd", "container",
		}},
		"nosuid": {func(f *Facts) { f.ProgramNoSuid = true }, capNetRaw, []string{
			"sudo setcap cap_net_admin,cap_net_raw+ep PATH   (copy the program first", "systemd", "container",
		}},
		"no_new_privs": {func(f *Facts) { f.NoNewPrivs = true }, capNetRaw, []string{"systemd", "container"}},
		"bounding set": {func(f *Facts) { f.Bounding &^= 1 << capNetAdmin }, capNetAdmin, []string{
			"container: docker run --cap-add NET_RAW --cap-add NET_ADMIN ...", "systemd",
		}},
		"in a user namespace": {func(f *Facts) { f.InitialUserNS = No }, capNetRaw, []string{"start it outside"}},
		"in a rootless container": {func(f *Facts) { f.InitialUserNS, f.Container, f.Bounding = No, "podman", 0 }, capNetRaw, []string{
			"container: ", "systemd",
		}},
	} {
		f := userFacts()
		tt.change(f)
		got := f.grant(tt.cap)
		same := slices.EqualFunc(got, tt.want, func(g, w string) bool { return strings.HasPrefix(g, w) })
		if !same {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// A refusal in spite of the capability is explained, not blamed on the capability.
func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(f *Facts)
		want   string
	}{
		"user namespace without a network": {func(f *Facts) { f.InitialUserNS = No }, "does not own the network namespace"},
		"seccomp":                          {func(f *Facts) { f.Seccomp = 2 }, "seccomp"},
		"CRIU issue 2744":                  {func(*Facts) {}, "yet the kernel refuses"},
		"no capability":                    {func(f *Facts) { f.Effective = 0 }, "needs CAP_NET_ADMIN"},
		"unknown capabilities":             {func(f *Facts) { f.CapsKnown = false }, "needs CAP_NET_ADMIN"},
	} {
		f := rootFacts()
		f.Repair = denied
		tt.change(f)
		r := judge(f, nil)
		if c, _ := r.Check("tcp-repair"); c.Answer != No || !strings.Contains(c.Detail, tt.want) {
			t.Errorf("%s: %s, %q", name, c.Answer, c.Detail)
		}
	}
}

func TestDemo(t *testing.T) {
	apparmor := map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1"}
	for name, tt := range map[string]struct {
		facts  *Facts
		change func(f, in *Facts) // in is nil after nobody looked
		looked bool
		want   Answer
		fix    string
	}{
		"root, nobody looked":          {rootFacts(), nil, false, Unknown, ""},
		"user, nobody looked":          {userFacts(), nil, false, Unknown, ""},
		"user, forbidden":              {userFacts(), func(f, _ *Facts) { f.UserNS = denied }, false, No, "run it as root"},
		"user":                         {userFacts(), nil, true, Yes, ""},
		"root":                         {rootFacts(), nil, true, Yes, ""},
		"root without user namespaces": {rootFacts(), func(f, _ *Facts) { f.UserNS = denied }, true, Yes, ""},
		"the child did not start": {userFacts(), func(f, in *Facts) {
			*in = Facts{UserNS: denied}
			f.UserNS, f.Sysctl = denied, map[string]string{"kernel/unprivileged_userns_clone": "0"}
		}, true, No, "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		"none left": {userFacts(), func(f, in *Facts) {
			*in = Facts{UserNS: Tried{Answer: No, Errno: int(syscall.ENOSPC)}}
		}, true, No, "sudo sysctl -w user.max_user_namespaces=10000"},
		"the child said nonsense": {userFacts(), func(_, in *Facts) { *in = Facts{UserNS: Tried{Answer: Unknown}} }, true, Unknown, ""},
		// Ubuntu: the namespace is made, the capabilities in it are not real.
		"apparmor": {userFacts(), func(f, in *Facts) {
			f.Sysctl = apparmor
			in.Packet, in.Raw4, in.Repair, in.Lab = denied, denied, denied, denied
		}, true, No, "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		"seccomp": {userFacts(), func(f, in *Facts) {
			f.Seccomp, f.UserNS = 2, denied
			*in = Facts{UserNS: denied}
		}, true, No, "container: docker run --security-opt seccomp=unconfined ..."},
		// execve(2) of a file with capabilities makes /proc/PID root's, and then nobody writes uid_map.
		"file capabilities": {userFacts(), func(f, in *Facts) {
			f.Undumpable = true
			*in = Facts{UserNS: Tried{Answer: No, Errno: int(syscall.EACCES), Error: "permission denied"}}
		}, true, No, "cp /usr/bin/synpunch DIR && DIR/synpunch demo   (a copy has no file capabilities, and the demo needs none)"},
		"/proc/sys is read-only": {rootFacts(), func(_, in *Facts) {
			in.Lab = Tried{Answer: No, Errno: int(syscall.EROFS), Error: "read-only file system"}
		}, true, No, "container: docker run --security-opt systempaths=unconfined ... (/proc/sys is read-only)"},
		"no nftables": {rootFacts(), func(_, in *Facts) {
			in.Lab = Tried{Answer: No, Errno: int(syscall.EOPNOTSUPP), Error: "operation not supported"}
		}, true, No, "sudo modprobe -a veth nf_tables nft_chain_nat nft_masq nf_conntrack"},
		"no packet sockets inside": {userFacts(), func(_, in *Facts) { in.Packet = Tried{} }, true, Unknown, ""},
	} {
		f, in := tt.facts, insideFacts()
		if tt.change != nil {
			tt.change(f, in)
		}
		if !tt.looked {
			in = nil
		}
		r := judge(f, in)
		c, _ := r.Check("demo")
		fix := ""
		if len(c.Fix) > 0 {
			fix = c.Fix[0]
		}
		if r.Demo != tt.want || c.Answer != tt.want || fix != tt.fix {
			t.Errorf("%s: %s (%s), fix %q; want %s, %q", name, r.Demo, c.Detail, fix, tt.want, tt.fix)
		}
	}
}

func TestFirewall(t *testing.T) {
	loaded := func(f *Facts) { f.Sysctl["net/netfilter/nf_conntrack_max"] = "65536" }
	for name, tt := range map[string]struct {
		change func(f *Facts)
		want   Answer
		detail string
		fix    string
	}{
		"nothing loaded":           {func(*Facts) {}, Yes, "not loaded", ""},
		"loaded, no rules":         {loaded, Yes, "", ""},
		"loaded, rules not shown":  {func(f *Facts) { loaded(f); f.ChainsTried = denied }, Unknown, "only root", ""},
		"loaded, legacy not shown": {func(f *Facts) { loaded(f); f.LegacyTried = denied }, Unknown, "only root", ""},
		"iptables":                 {func(f *Facts) { loaded(f); f.Legacy = []string{"raw", "filter"} }, No, "(iptables filter)", ""},
		"accepting, not stateful":  {func(f *Facts) { loaded(f); f.Chains = []Chain{{Hook: "input"}} }, Yes, "", ""},
		"stateful": {func(f *Facts) {
			loaded(f)
			f.Chains = []Chain{{Family: "ip", Table: "nat", Name: "POSTROUTING", Hook: "postrouting", Stateful: true},
				{Family: "inet", Table: "fw", Name: "in", Hook: "input", Drop: true, Stateful: true}}
		}, No, "(ip nat POSTROUTING, inet fw in)", "sudo nft insert rule inet fw in ip saddr PEER"},
		"many": {func(f *Facts) {
			for i := range 6 {
				f.Chains = append(f.Chains, Chain{Family: "ip", Table: "t", Name: fmt.Sprint(i), Stateful: true})
			}
		}, No, "ip t 2, and 3 more)", ""},
	} {
		f := rootFacts()
		tt.change(f)
		c := f.firewall()
		fix := strings.Join(c.Fix, "\n")
		if c.Answer != tt.want || !strings.Contains(c.Detail, tt.detail) || !strings.HasPrefix(fix, tt.fix) || (tt.fix == "") != (fix == "") {
			t.Errorf("%s: %s, %q, %q", name, c.Answer, c.Detail, fix)
		}
	}
}

func TestConntrackRoom(t *testing.T) {
	for _, tt := range []struct {
		count, limit string
		want         Answer
	}{
		{"0", "262144", Yes}, {"65000", "65536", No}, {"10", "0", Yes}, {"x", "10", Unknown}, {"", "", Yes},
	} {
		f := rootFacts()
		if tt.limit != "" {
			f.Sysctl["net/netfilter/nf_conntrack_count"], f.Sysctl["net/netfilter/nf_conntrack_max"] = tt.count, tt.limit
		}
		if c := f.conntrack(); c.Answer != tt.want {
			t.Errorf("%s of %s: %s", tt.count, tt.limit, c.Answer)
		}
	}
}

func TestKernelVersion(t *testing.T) {
	for release, want := range map[string]string{
		"6.18.44-fc": "6.18", "6.11-rc1": "6.11", "5.15.0-91-generic": "5.15", "6.6+": "6.6", "": "?", "next": "?",
	} {
		major, minor, ok := kernelVersion(release)
		got := fmt.Sprintf("%d.%d", major, minor)
		if !ok {
			got = "?"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", release, got, want)
		}
	}
	for release, want := range map[string]Answer{"6.10.9": Unknown, "6.11.0": Yes, "7.0": Yes, "5.15": Unknown} {
		f := rootFacts()
		f.Kernel = release
		r := judge(f, nil)
		if c, _ := r.Check("kernel-crossing"); c.Answer != want {
			t.Errorf("%s: %s, want %s", release, c.Answer, want)
		}
	}
}

func TestOutcome(t *testing.T) {
	for err, want := range map[error]Answer{
		nil:                                    Yes,
		syscall.EPERM:                          No,
		os.NewSyscallError("x", syscall.EROFS): No,
		syscall.EMFILE:                         Unknown,
		syscall.ENOMEM:                         Unknown,
		errors.New("odd"):                      Unknown,
		errors.ErrUnsupported:                  No,
	} {
		if got := outcome(err); got.Answer != want || (err != nil && got.Error == "") {
			t.Errorf("%v: %+v, want %s", err, got, want)
		}
	}
}

func TestClockWords(t *testing.T) {
	f := rootFacts()
	r := judge(f, nil)
	if c, _ := r.Check("clock"); c.Detail != "at most 12.35ms off, by its own estimate 1.5µs" {
		t.Errorf("%q", c.Detail)
	}
	f.Clock = timing.Clock{Synchronised: true, MaxError: 2345678901, Leap: "insert"}
	r = judge(f, nil)
	if c, _ := r.Check("clock"); c.Detail != "at most 2.35s off, by its own estimate 0s, leap second: insert" {
		t.Errorf("%q", c.Detail)
	}
	f.Clock, f.Container = timing.Clock{MaxError: 16 * time.Second}, "docker"
	r = judge(f, nil)
	if c, _ := r.Check("clock"); c.Answer != No || !strings.HasPrefix(c.Fix[0], "on the host") {
		t.Errorf("%+v", c)
	}
}

// The names in the JSON are a promise: see the package's documentation.
func TestJSONNames(t *testing.T) {
	b, err := json.Marshal(judge(userFacts(), insideFacts()))
	if err != nil {
		t.Fatal(err)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(b, &top); err != nil {
		t.Fatal(err)
	}
	names := func(b json.RawMessage) []string {
		var list []map[string]any
		if err := json.Unmarshal(b, &list); err != nil {
			list = make([]map[string]any, 1)
			if err := json.Unmarshal(b, &list[0]); err != nil {
				t.Fatal(err)
			}
		}
		var keys []string
		for _, m := range list {
			for k := range m {
				if !slices.Contains(keys, k) {
					keys = append(keys, k)
				}
			}
		}
		slices.Sort(keys)
		return keys
	}
	check := []string{"answer", "detail", "fix", "group", "id", "level", "title"}
	for _, tt := range []struct {
		of   json.RawMessage
		want []string
	}{
		{b, []string{"best", "checks", "demo", "engines", "inside", "machine", "version"}},
		{top["machine"], []string{"arch", "container", "cpus", "kernel", "os", "program", "uid"}},
		{top["checks"], check},
		{top["engines"], []string{"detail", "engine", "missing", "works"}},
	} {
		if diff := cmp.Diff(tt.want, names(tt.of)); diff != "" {
			t.Errorf("names in %.40s (-want +got):\n%s", tt.of, diff)
		}
	}
	var back Result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(judge(userFacts(), insideFacts()), back, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("there and back (-want +got):\n%s", diff)
	}
}

func TestIDsAreUnique(t *testing.T) {
	r := judge(rootFacts(), insideFacts())
	seen := map[string]bool{}
	for _, c := range r.Checks {
		if seen[c.ID] {
			t.Errorf("two checks %s", c.ID)
		}
		seen[c.ID] = true
	}
}
