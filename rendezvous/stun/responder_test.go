package stun_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/synpunch/synpunch/rendezvous/stun"
)

// The server of these tests has two addresses and two ports.
var (
	client4 = netip.MustParseAddrPort("198.51.100.7:40000")
	at4     = netip.MustParseAddrPort("203.0.113.1:3478")
	other4  = netip.MustParseAddrPort("203.0.113.2:3479")
	client6 = netip.MustParseAddrPort("[2001:db8:7::7]:40000")
	at6     = netip.MustParseAddrPort("[2001:db8::1]:3478")
	other6  = netip.MustParseAddrPort("[2001:db8::2]:3479")

	arrival4 = stun.Arrival{From: client4, To: at4, Other: other4, AltPort: 3479}
)

func request(attrs ...stun.Attribute) *stun.Message {
	return &stun.Message{Class: stun.Request, Method: stun.Binding, Attributes: attrs,
		Transaction: stun.Transaction(append(cookie[:4:4], []byte("transaction!")...))}
}

func TestRespond(t *testing.T) {
	change := func(flags byte) stun.Attribute {
		return stun.Attribute{Type: stun.ChangeRequest, Value: []byte{0, 0, 0, flags}}
	}
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	stream := arrival4
	stream.Stream = true
	single := stun.Arrival{From: client4, To: at4}
	onePort := stun.Arrival{From: client4, To: at4, AltPort: 3479}
	unknownTo := stun.Arrival{From: client4, To: netip.AddrPortFrom(netip.Addr{}, 3478), AltPort: 3479}
	for name, c := range map[string]struct {
		m        *stun.Message
		in       stun.Arrival
		from, to netip.AddrPort
		code     int
		unknown  []stun.AttrType
		has      []stun.AttrType
	}{
		"plain":               {request(), arrival4, at4, client4, 0, nil, []stun.AttrType{stun.XORMappedAddress, stun.MappedAddress, stun.ResponseOrigin, stun.OtherAddress, stun.Software}},
		"fingerprint":         {request(stun.Attribute{Type: stun.Fingerprint}), arrival4, at4, client4, 0, nil, []stun.AttrType{stun.XORMappedAddress, stun.MappedAddress, stun.ResponseOrigin, stun.OtherAddress, stun.Software, stun.Fingerprint}},
		"one address":         {request(), single, at4, client4, 0, nil, []stun.AttrType{stun.XORMappedAddress, stun.MappedAddress, stun.ResponseOrigin, stun.Software}},
		"unknown address":     {request(), unknownTo, unknownTo.To, client4, 0, nil, []stun.AttrType{stun.XORMappedAddress, stun.MappedAddress, stun.Software}},
		"change nothing":      {request(change(0)), arrival4, at4, client4, 0, nil, nil},
		"change port":         {request(change(2)), arrival4, at("203.0.113.1:3479"), client4, 0, nil, nil},
		"change IP":           {request(change(4)), arrival4, at("203.0.113.2:3478"), client4, 0, nil, nil},
		"change both":         {request(change(6)), arrival4, other4, client4, 0, nil, nil},
		"change port, one IP": {request(change(2)), onePort, at("203.0.113.1:3479"), client4, 0, nil, nil},
		"change IP, one IP":   {request(change(4)), onePort, at4, client4, 420, []stun.AttrType{stun.ChangeRequest}, nil},
		"change, one port":    {request(change(2)), single, at4, client4, 420, []stun.AttrType{stun.ChangeRequest}, nil},
		"change over TCP":     {request(change(2)), stream, at4, client4, 420, []stun.AttrType{stun.ChangeRequest}, nil},
		"broken change":       {request(stun.Attribute{Type: stun.ChangeRequest, Value: []byte{2}}), arrival4, at4, client4, 400, nil, nil},
		"response port":       {request(stun.Attribute{Type: stun.ResponsePort, Value: []byte{0x12, 0x34}}), arrival4, at4, at("198.51.100.7:4660"), 0, nil, nil},
		"response port 0":     {request(stun.Attribute{Type: stun.ResponsePort, Value: []byte{0, 0}}), arrival4, at4, client4, 400, nil, nil},
		"response port, TCP":  {request(stun.Attribute{Type: stun.ResponsePort, Value: []byte{1, 1}}), stream, at4, client4, 420, []stun.AttrType{stun.ResponsePort}, nil},
		"padding":             {request(stun.Attribute{Type: stun.Padding, Value: make([]byte, 99)}), arrival4, at4, client4, 0, nil, []stun.AttrType{stun.XORMappedAddress, stun.MappedAddress, stun.ResponseOrigin, stun.OtherAddress, stun.Padding, stun.Software}},
		"padding elsewhere": {request(stun.Attribute{Type: stun.Padding, Value: make([]byte, 99)}, stun.Attribute{Type: stun.ResponsePort, Value: []byte{1, 1}}),
			arrival4, at4, client4, 400, nil, []stun.AttrType{stun.ErrorCode, stun.Software}},
		"unknown, required": {request(stun.Attribute{Type: 0x7FFF}, stun.Attribute{Type: 0x0002, Value: make([]byte, 8)}), arrival4, at4, client4, 420, []stun.AttrType{0x7FFF, 0x0002},
			[]stun.AttrType{stun.ErrorCode, stun.UnknownAttributes, stun.Software}},
		"unknown, optional": {request(stun.Attribute{Type: 0xFFFF}), arrival4, at4, client4, 0, nil, nil},
		"authentication":    {request(stun.Attribute{Type: 0x0006, Value: []byte("me")}, stun.Attribute{Type: 0x0008, Value: make([]byte, 20)}), arrival4, at4, client4, 0, nil, nil},
		"change and unknown": {request(change(6), stun.Attribute{Type: 0x7FFF}), arrival4, at4, client4, 420, []stun.AttrType{0x7FFF},
			nil},
	} {
		t.Run(name, func(t *testing.T) {
			var ans stun.Answer
			if !stun.Respond(c.m, c.in, "s", &ans) {
				t.Fatal("no answer")
			}
			m := reparse(t, &ans.Message)
			if ans.From != c.from || ans.To != c.to || m.Transaction != c.m.Transaction {
				t.Errorf("from %v to %v, want from %v to %v", ans.From, ans.To, c.from, c.to)
			}
			var types []stun.AttrType
			for _, a := range m.Attributes {
				types = append(types, a.Type)
			}
			if c.has != nil && !slices.Equal(types, c.has) {
				t.Errorf("attributes %v, want %v", types, c.has)
			}
			if c.code != 0 {
				v, _ := m.Get(stun.ErrorCode)
				if m.Class != stun.Failure || len(v) < 4 || int(v[2])*100+int(v[3]) != c.code {
					t.Fatalf("%v with %x, want %d", m.Class, v, c.code)
				}
				var unknown []stun.AttrType
				raw, _ := m.Get(stun.UnknownAttributes)
				for ; len(raw) > 1; raw = raw[2:] {
					unknown = append(unknown, stun.AttrType(raw[0])<<8|stun.AttrType(raw[1]))
				}
				if !slices.Equal(unknown, c.unknown) {
					t.Errorf("unknown %v, want %v", unknown, c.unknown)
				}
				return
			}
			if got, _, err := m.Address(stun.XORMappedAddress); got != client4 || err != nil {
				t.Errorf("mapped %v, %v", got, err)
			}
			if got, ok, err := m.Address(stun.ResponseOrigin); ok && (got != c.from || err != nil) {
				t.Errorf("origin %v, %v, want %v", got, err, c.from)
			}
		})
	}
}

// TestRespondToOld: a request without the cookie gets what RFC 3489 knows.
func TestRespondToOld(t *testing.T) {
	m := request(stun.Attribute{Type: stun.ChangeRequest, Value: []byte{0, 0, 0, 6}})
	m.Transaction = stun.Transaction([]byte("sixteen bytes ok"))
	var ans stun.Answer
	if !stun.Respond(m, arrival4, "s", &ans) {
		t.Fatal("no answer")
	}
	r := reparse(t, &ans.Message)
	if len(r.Attributes) != 3 || r.Transaction != m.Transaction {
		t.Errorf("answer %v", r)
	}
	for typ, want := range map[stun.AttrType]netip.AddrPort{stun.MappedAddress: client4, stun.SourceAddress: other4, stun.ChangedAddress: other4} {
		if got, _, err := r.Address(typ); got != want || err != nil {
			t.Errorf("%v is %v, %v, want %v", typ, got, err, want)
		}
	}
}

func TestRespondKeepsSilent(t *testing.T) {
	for name, m := range map[string]*stun.Message{
		"success":      {Class: stun.Success, Method: stun.Binding},
		"failure":      {Class: stun.Failure, Method: stun.Binding},
		"indication":   {Class: stun.Indication, Method: stun.Binding},
		"other method": {Class: stun.Request, Method: 3},
	} {
		if stun.Respond(m, arrival4, "s", new(stun.Answer)) {
			t.Errorf("%s: answered", name)
		}
	}
}

func reparse(t testing.TB, m *stun.Message) *stun.Message {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var back stun.Message
	if err := back.Parse(b); err != nil {
		t.Fatal(err)
	}
	return &back
}

// FuzzRespond: whatever is asked, the answer is a message, goes to the address
// that asked, and is at most 2.6 times as long as the request.
func FuzzRespond(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b, false, false)
		f.Add(b, true, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, six, tcp bool) {
		var m stun.Message
		if m.Parse(b) != nil {
			return
		}
		in, headers := arrival4, 20+8
		if six {
			in, headers = stun.Arrival{From: client6, To: at6, Other: other6, AltPort: 3479}, 40+8
		}
		in.Stream = tcp
		var ans stun.Answer
		if !stun.Respond(&m, in, stun.DefaultSoftware, &ans) {
			return
		}
		out, err := ans.Message.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back stun.Message
		if err := back.Parse(out); err != nil {
			t.Fatalf("%v\n%x\n%x", err, b, out)
		}
		if ans.To.Addr() != in.From.Addr() || (tcp && (ans.To != in.From || ans.From != in.To)) {
			t.Fatalf("answer from %v to %v", ans.From, ans.To)
		}
		if have, most := headers+len(out), (headers+len(b))*26/10; have > most {
			t.Fatalf("%d bytes answer %d\n%x\n%x", have, headers+len(b), b, out)
		}
	})
}
