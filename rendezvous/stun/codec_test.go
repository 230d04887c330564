package stun_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	pion "github.com/pion/stun/v3"
	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rendezvous/stun"
)

var cookie = []byte{0x21, 0x12, 0xA4, 0x42}

func drawTransaction(t *rapid.T) (tr stun.Transaction) {
	copy(tr[:], cookie)
	copy(tr[4:], rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "transaction"))
	return tr
}

func drawAddr(t *rapid.T) netip.AddrPort {
	n := rapid.SampledFrom([]int{4, 16}).Draw(t, "family")
	a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
	return netip.AddrPortFrom(a.Unmap(), rapid.Uint16().Draw(t, "port"))
}

// addresses are the attributes that hold one, as pion calls them.
var addresses = []struct {
	ours   stun.AttrType
	theirs func(ip net.IP, port int) pion.Setter
	get    func(m *pion.Message) (net.IP, int, error)
}{
	{stun.XORMappedAddress,
		func(ip net.IP, port int) pion.Setter { return &pion.XORMappedAddress{IP: ip, Port: port} },
		func(m *pion.Message) (net.IP, int, error) {
			var a pion.XORMappedAddress
			err := a.GetFrom(m)
			return a.IP, a.Port, err
		}},
	{stun.MappedAddress,
		func(ip net.IP, port int) pion.Setter { return &pion.MappedAddress{IP: ip, Port: port} },
		func(m *pion.Message) (net.IP, int, error) {
			var a pion.MappedAddress
			err := a.GetFrom(m)
			return a.IP, a.Port, err
		}},
	{stun.ResponseOrigin,
		func(ip net.IP, port int) pion.Setter { return &pion.ResponseOrigin{IP: ip, Port: port} },
		func(m *pion.Message) (net.IP, int, error) {
			var a pion.ResponseOrigin
			err := a.GetFrom(m)
			return a.IP, a.Port, err
		}},
	{stun.OtherAddress,
		func(ip net.IP, port int) pion.Setter { return &pion.OtherAddress{IP: ip, Port: port} },
		func(m *pion.Message) (net.IP, int, error) {
			var a pion.OtherAddress
			err := a.GetFrom(m)
			return a.IP, a.Port, err
		}},
}

// TestPion: what we write another codec reads, and the other way round.
func TestPion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr, ap := drawTransaction(t), drawAddr(t)
		kind := rapid.SampledFrom(addresses).Draw(t, "attribute")
		software := rapid.StringMatching(`[ -~]{0,60}`).Draw(t, "software")
		finger := rapid.Bool().Draw(t, "fingerprint")

		ours := stun.Message{Class: stun.Success, Method: stun.Binding, Transaction: tr}
		ours.AddAddress(kind.ours, ap)
		ours.Add(stun.Software, []byte(software))
		if finger {
			ours.Add(stun.Fingerprint, nil)
		}
		b, err := ours.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var theirs pion.Message
		if err := pion.Decode(b, &theirs); err != nil {
			t.Fatal(err)
		}
		ip, port, err := kind.get(&theirs)
		if err != nil || !ip.Equal(ap.Addr().AsSlice()) || port != int(ap.Port()) {
			t.Fatalf("pion reads %v:%d, %v, want %v", ip, port, err, ap)
		}
		var sw pion.Software
		if err := sw.GetFrom(&theirs); err != nil || sw.String() != software {
			t.Fatalf("pion reads software %q, %v", sw, err)
		}
		if finger {
			if err := pion.Fingerprint.Check(&theirs); err != nil {
				t.Fatal(err)
			}
		}

		set := []pion.Setter{pion.BindingSuccess, pion.NewTransactionIDSetter([12]byte(tr[4:])), kind.theirs(ap.Addr().AsSlice(), int(ap.Port())), pion.NewSoftware(software)}
		if finger {
			set = append(set, pion.Fingerprint)
		}
		built, err := pion.Build(set...)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(built.Raw, b) {
			t.Fatalf("pion writes\n%x, we\n%x", built.Raw, b)
		}
		var back stun.Message
		if err := back.Parse(built.Raw); err != nil {
			t.Fatal(err)
		}
		got, ok, err := back.Address(kind.ours)
		if got != ap || !ok || err != nil || back.Class != stun.Success || back.Method != stun.Binding || back.Transaction != tr {
			t.Fatalf("read back %v %v %v of %v", got, ok, err, back)
		}
	})
}

// TestTypes: class and method are put together as by pion.
func TestTypes(t *testing.T) {
	for class, theirs := range map[stun.Class]pion.MessageClass{
		stun.Request: pion.ClassRequest, stun.Indication: pion.ClassIndication, stun.Success: pion.ClassSuccessResponse, stun.Failure: pion.ClassErrorResponse,
	} {
		for _, method := range []stun.Method{0, 1, 0x00F, 0x070, 0xF80, 0xFFF} {
			m := stun.Message{Class: class, Method: method, Transaction: stun.Transaction(append(cookie[:4:4], make([]byte, 12)...))}
			b, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			want := pion.NewType(pion.Method(method), theirs).Value()
			if got := uint16(b[0])<<8 | uint16(b[1]); got != want {
				t.Errorf("%v of method %#x: type %#04x, want %#04x", class, method, got, want)
			}
			var back stun.Message
			if err := back.Parse(b); err != nil || back.Class != class || back.Method != method {
				t.Errorf("%v of method %#x: read back %v, %#x, %v", class, method, back.Class, back.Method, err)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	ok := stun.Message{Class: stun.Request, Method: stun.Binding, Transaction: stun.Transaction(append(cookie[:4:4], make([]byte, 12)...))}
	ok.Add(stun.Software, []byte("abc"))
	ok.Add(stun.Fingerprint, nil)
	good, err := ok.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":              {nil, stun.ErrNotSTUN},
		"cut in the header":    {good[:19], stun.ErrNotSTUN},
		"cut in an attribute":  {good[:len(good)-4], stun.ErrMalformed},
		"more than it says":    {append(slices.Clone(good), 0, 0, 0, 0), stun.ErrMalformed},
		"first bits":           {change(func(b []byte) []byte { b[0] |= 0x80; return b }), stun.ErrNotSTUN},
		"length not of 4":      {change(func(b []byte) []byte { b[3]++; return b }), stun.ErrMalformed},
		"attribute too long":   {change(func(b []byte) []byte { b[23] = 200; return b }), stun.ErrMalformed},
		"attribute of 64 KiB":  {change(func(b []byte) []byte { b[22], b[23] = 255, 255; return b }), stun.ErrMalformed},
		"fingerprint":          {change(func(b []byte) []byte { b[len(b)-1]++; return b }), stun.ErrFingerprint},
		"software":             {change(func(b []byte) []byte { b[24]++; return b }), stun.ErrFingerprint},
		"fingerprint not last": {change(func(b []byte) []byte { b[3] += 4; return append(b, 0x80, 0x50, 0, 0) }), stun.ErrFingerprint},
		"too long":             {append([]byte{0, 1, 0x10, 0}, append(cookie[:4:4], make([]byte, 4096+12)...)...), stun.ErrMalformed},
	} {
		var m stun.Message
		if err := m.Parse(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m stun.Message
		if m.Parse(b) != nil {
			return
		}
		for _, k := range []stun.AttrType{stun.XORMappedAddress, stun.MappedAddress, stun.OtherAddress} {
			if ap, ok, err := m.Address(k); ok && err == nil {
				again := stun.Message{Transaction: m.Transaction}
				again.AddAddress(k, ap)
				if got, _, err := again.Address(k); err != nil || (got != ap && !ap.Addr().Is4In6()) {
					t.Fatalf("%v became %v, %v", ap, got, err)
				}
			}
		}
		out, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back stun.Message
		if m.Transaction.Classic() && len(out) > stun.MaxSize {
			return // padding, which RFC 3489 does not know, made it longer
		}
		if err := back.Parse(out); err != nil {
			t.Fatalf("%v\n%x\n%x", err, b, out)
		}
		if back.Class != m.Class || back.Method != m.Method || back.Transaction != m.Transaction ||
			!slices.EqualFunc(back.Attributes, m.Attributes, func(a, b stun.Attribute) bool { return a.Type == b.Type && bytes.Equal(a.Value, b.Value) }) {
			t.Fatalf("%v became %v", m, back)
		}
	})
}

// samples are messages of many kinds, for fuzzing to begin with.
func samples(tb testing.TB) (list [][]byte) {
	tr := stun.Transaction(append(cookie[:4:4], []byte("transaction!")...))
	classic := stun.Transaction([]byte("sixteen bytes ok"))
	ap4, ap6 := netip.MustParseAddrPort("203.0.113.7:40000"), netip.MustParseAddrPort("[2001:db8::7]:40000")
	full := func(m stun.Message, add func(m *stun.Message)) {
		m.Method = stun.Binding
		add(&m)
		b, err := m.Append(nil)
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, b)
	}
	for _, id := range []stun.Transaction{tr, classic} {
		full(stun.Message{Transaction: id}, func(*stun.Message) {})
		full(stun.Message{Transaction: id}, func(m *stun.Message) { m.Add(stun.Fingerprint, nil) })
		full(stun.Message{Transaction: id}, func(m *stun.Message) { m.Add(stun.ChangeRequest, []byte{0, 0, 0, 6}) })
		full(stun.Message{Transaction: id}, func(m *stun.Message) { m.Add(stun.ResponsePort, []byte{1, 2}) })
		full(stun.Message{Transaction: id}, func(m *stun.Message) { m.Add(stun.Padding, make([]byte, 30)) })
		full(stun.Message{Transaction: id}, func(m *stun.Message) { m.Add(0x7777, nil) })
		full(stun.Message{Transaction: id, Class: stun.Success}, func(m *stun.Message) {
			m.AddAddress(stun.XORMappedAddress, ap4)
			m.AddAddress(stun.OtherAddress, ap6)
			m.Add(stun.Software, []byte("x"))
		})
		full(stun.Message{Transaction: id, Class: stun.Failure}, func(m *stun.Message) {
			m.Add(stun.ErrorCode, []byte{0, 0, 4, 20, 'n', 'o'})
			m.Add(stun.UnknownAttributes, []byte{0, 3})
		})
	}
	return list
}
