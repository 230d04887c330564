package rawtcp_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/synpunch/synpunch/rawtcp"
)

var benchTime = time.Unix(1_700_000_000, 123456789)

// gopacketWriter writes one segment through gopacket: the oracle for Append.
type gopacketWriter struct {
	ip4  *layers.IPv4
	ip6  *layers.IPv6
	tcp  layers.TCP
	data []byte
	buf  gopacket.SerializeBuffer
}

func newGopacketWriter(s *rawtcp.Segment) *gopacketWriter {
	w := &gopacketWriter{buf: gopacket.NewSerializeBuffer(), data: s.Payload}
	w.tcp = layers.TCP{
		SrcPort: layers.TCPPort(s.Src.Port()), DstPort: layers.TCPPort(s.Dst.Port()),
		Seq: uint32(s.Seq), Ack: uint32(s.Ack), Window: s.Window, Urgent: s.Urgent,
		FIN: s.Flags.Has(rawtcp.FIN), SYN: s.Flags.Has(rawtcp.SYN), RST: s.Flags.Has(rawtcp.RST), PSH: s.Flags.Has(rawtcp.PSH),
		ACK: s.Flags.Has(rawtcp.ACK), URG: s.Flags.Has(rawtcp.URG), ECE: s.Flags.Has(rawtcp.ECE), CWR: s.Flags.Has(rawtcp.CWR),
		Options: linuxOptions(&s.Options),
	}
	ttl := s.TTL
	if ttl == 0 {
		ttl = 64
	}
	if s.Src.Addr().Is4() {
		w.ip4 = &layers.IPv4{
			Version: 4, IHL: 5, TOS: s.TOS, Id: s.ID, TTL: ttl, Protocol: layers.IPProtocolTCP,
			SrcIP: net.IP(s.Src.Addr().AsSlice()), DstIP: net.IP(s.Dst.Addr().AsSlice()),
		}
		if s.DF {
			w.ip4.Flags = layers.IPv4DontFragment
		}
		w.tcp.SetNetworkLayerForChecksum(w.ip4)
	} else {
		w.ip6 = &layers.IPv6{
			Version: 6, TrafficClass: s.TOS, NextHeader: layers.IPProtocolTCP, HopLimit: ttl,
			SrcIP: net.IP(s.Src.Addr().AsSlice()), DstIP: net.IP(s.Dst.Addr().AsSlice()),
		}
		w.tcp.SetNetworkLayerForChecksum(w.ip6)
	}
	return w
}

// fill sets what a SYN's Segment says in the layers of an earlier one, without
// allocating.
func (w *gopacketWriter) fill(s *rawtcp.Segment, data *[40]byte) {
	t := &w.tcp
	t.SrcPort, t.DstPort = layers.TCPPort(s.Src.Port()), layers.TCPPort(s.Dst.Port())
	t.Seq, t.Ack, t.Window, t.Urgent = uint32(s.Seq), uint32(s.Ack), s.Window, s.Urgent
	t.SYN, t.ACK = s.Flags.Has(rawtcp.SYN), s.Flags.Has(rawtcp.ACK)
	t.FIN, t.RST, t.PSH = s.Flags.Has(rawtcp.FIN), s.Flags.Has(rawtcp.RST), s.Flags.Has(rawtcp.PSH)
	if w.ip4 != nil {
		w.ip4.TTL, w.ip4.Id, w.ip4.TOS = s.TTL, s.ID, s.TOS
		src, dst := s.Src.Addr().As4(), s.Dst.Addr().As4()
		copy(w.ip4.SrcIP, src[:])
		copy(w.ip4.DstIP, dst[:])
	} else {
		w.ip6.HopLimit, w.ip6.TrafficClass = s.TTL, s.TOS
		src, dst := s.Src.Addr().As16(), s.Dst.Addr().As16()
		copy(w.ip6.SrcIP, src[:])
		copy(w.ip6.DstIP, dst[:])
	}
	opts, o := t.Options[:0], &s.Options
	if o.MSS != 0 {
		binary.BigEndian.PutUint16(data[0:], o.MSS)
		opts = append(opts, layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: data[0:2]})
	}
	if o.SACKPermitted {
		opts = append(opts, layers.TCPOption{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2})
	}
	if o.HasTimestamps {
		binary.BigEndian.PutUint32(data[8:], o.TSVal)
		binary.BigEndian.PutUint32(data[12:], o.TSEcr)
		opts = append(opts, layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: data[8:16]})
	}
	if o.HasWScale {
		data[20] = o.WScale
		opts = append(opts,
			layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
			layers.TCPOption{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: data[20:21]})
	}
	t.Options = opts
}

func (w *gopacketWriter) write() error {
	w.tcp.Padding = nil // gopacket keeps the last packet's (1.1.19)
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := w.buf.Clear(); err != nil {
		return err
	}
	if len(w.data) > 0 {
		b, err := w.buf.PrependBytes(len(w.data))
		if err != nil {
			return err
		}
		copy(b, w.data)
	}
	if err := w.tcp.SerializeTo(w.buf, opts); err != nil {
		return err
	}
	if w.ip4 != nil {
		return w.ip4.SerializeTo(w.buf, opts)
	}
	return w.ip6.SerializeTo(w.buf, opts)
}

// linuxOptions is Options in the order and with the NOPs of tcp_options_write,
// written independently of Options.put.
func linuxOptions(o *rawtcp.Options) []layers.TCPOption {
	var list []layers.TCPOption
	nop := func(n int) {
		for range n {
			list = append(list, layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1})
		}
	}
	add := func(kind layers.TCPOptionKind, data ...byte) {
		list = append(list, layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data})
	}
	if o.MSS != 0 {
		add(layers.TCPOptionKindMSS, byte(o.MSS>>8), byte(o.MSS))
	}
	if o.SACKPermitted {
		if !o.HasTimestamps {
			nop(2)
		}
		add(layers.TCPOptionKindSACKPermitted)
	} else if o.HasTimestamps {
		nop(2)
	}
	if o.HasTimestamps {
		var ts [8]byte
		binary.BigEndian.PutUint32(ts[:], o.TSVal)
		binary.BigEndian.PutUint32(ts[4:], o.TSEcr)
		add(layers.TCPOptionKindTimestamps, ts[:]...)
	}
	if o.HasWScale {
		nop(1)
		add(layers.TCPOptionKindWindowScale, o.WScale)
	}
	if o.NSACK > 0 {
		nop(2)
		var data []byte
		for _, block := range o.SACK[:o.NSACK] {
			data = binary.BigEndian.AppendUint32(data, uint32(block.Left))
			data = binary.BigEndian.AppendUint32(data, uint32(block.Right))
		}
		add(layers.TCPOptionKindSACK, data...)
	}
	return list
}

// gopacketRead reads a packet through gopacket: the oracle for Parse.
func gopacketRead(pkt []byte) (s rawtcp.Segment, ok bool) {
	first := layers.LayerTypeIPv4
	if len(pkt) > 0 && pkt[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(pkt, first, gopacket.Default)
	if p.ErrorLayer() != nil {
		return s, false
	}
	tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok {
		return s, false
	}
	if ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		readIPv4(&s, ip, tcp)
	} else if ip, ok := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok {
		readIPv6(&s, ip, tcp)
	}
	readTCP(&s, tcp)
	return s, true
}

func readIPv4(s *rawtcp.Segment, ip *layers.IPv4, tcp *layers.TCP) {
	s.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip.SrcIP)), uint16(tcp.SrcPort))
	s.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip.DstIP)), uint16(tcp.DstPort))
	s.TTL, s.TOS, s.ID, s.DF = ip.TTL, ip.TOS, ip.Id, ip.Flags&layers.IPv4DontFragment != 0
}

func readIPv6(s *rawtcp.Segment, ip *layers.IPv6, tcp *layers.TCP) {
	s.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip.SrcIP)), uint16(tcp.SrcPort))
	s.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip.DstIP)), uint16(tcp.DstPort))
	s.TTL, s.TOS = ip.HopLimit, ip.TrafficClass
}

func readTCP(s *rawtcp.Segment, tcp *layers.TCP) {
	s.Seq, s.Ack, s.Window, s.Urgent = rawtcp.Seq(tcp.Seq), rawtcp.Seq(tcp.Ack), tcp.Window, tcp.Urgent
	for _, f := range []struct {
		set bool
		bit rawtcp.Flags
	}{
		{tcp.FIN, rawtcp.FIN}, {tcp.SYN, rawtcp.SYN}, {tcp.RST, rawtcp.RST}, {tcp.PSH, rawtcp.PSH},
		{tcp.ACK, rawtcp.ACK}, {tcp.URG, rawtcp.URG}, {tcp.ECE, rawtcp.ECE}, {tcp.CWR, rawtcp.CWR},
	} {
		if f.set {
			s.Flags |= f.bit
		}
	}
	for _, opt := range tcp.Options {
		switch d := opt.OptionData; opt.OptionType {
		case layers.TCPOptionKindMSS:
			s.Options.MSS = binary.BigEndian.Uint16(d)
		case layers.TCPOptionKindWindowScale:
			s.Options.HasWScale, s.Options.WScale = true, min(d[0], 14)
		case layers.TCPOptionKindSACKPermitted:
			s.Options.SACKPermitted = true
		case layers.TCPOptionKindTimestamps:
			s.Options.HasTimestamps = true
			s.Options.TSVal, s.Options.TSEcr = binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:])
		case layers.TCPOptionKindSACK:
			s.Options.NSACK = uint8(len(d) / 8)
			for i := range s.Options.NSACK {
				at := d[int(i)*8:]
				s.Options.SACK[i] = rawtcp.SACKBlock{Left: rawtcp.Seq(binary.BigEndian.Uint32(at)), Right: rawtcp.Seq(binary.BigEndian.Uint32(at[4:]))}
			}
		}
	}
	s.Payload, s.PayloadLen = tcp.Payload, len(tcp.Payload)
}
