package rawtcp

import "encoding/binary"

// synTemplate is a SYN of a Fan with everything that all of them have in common.
type synTemplate struct {
	pkt []byte // ports, sequence number, timestamp and checksum are 0
	tcp int    // where the TCP header begins
	ts  int    // where the TSval is, from there; 0: there is none
	sum uint64 // the sum that the checksum is the complement of, without the fields that are 0
}

// newSYNTemplate makes the template with link in front, the header of the device.
func newSYNTemplate(f *Fan, link []byte) (synTemplate, error) {
	s := f.scratch.syn(0)
	s.Src, s.Dst = f.ends(0, 0)
	s.Seq = 0
	pkt, err := s.Append(append([]byte(nil), link...))
	if err != nil {
		return synTemplate{}, err
	}
	t := synTemplate{pkt: pkt, tcp: len(link) + ipv4MinHeader}
	if s.Src.Addr().Is6() {
		t.tcp = len(link) + ipv6Header
	}
	if s.Options.HasTimestamps {
		// MSS, if there is one, comes before; SACK-permitted or two NOPs, kind and length too.
		t.ts = tcpMinHeader + 4
		if s.Options.MSS != 0 {
			t.ts += lenMSS
		}
	}
	t.sum = uint64(^binary.BigEndian.Uint16(pkt[t.tcp+16:]))
	binary.BigEndian.PutUint16(pkt[t.tcp+16:], 0)
	return t, nil
}

// write makes a SYN of pkt, a copy of the template. The checksum is that of RFC
// 1624, HC' = ~(~HC + ~m + m'), where each m, what the template has there, is 0.
// All fields begin at an even offset, so that they are added as they are.
func (t *synTemplate) write(pkt []byte, local, remote uint16, isn Seq, tsval uint32) {
	tcp := pkt[t.tcp:]
	ports := uint32(local)<<16 | uint32(remote)
	binary.BigEndian.PutUint32(tcp[0:], ports)
	binary.BigEndian.PutUint32(tcp[4:], uint32(isn))
	sum := t.sum + uint64(ports) + uint64(isn)
	if t.ts != 0 {
		binary.BigEndian.PutUint32(tcp[t.ts:], tsval)
		sum += uint64(tsval)
	}
	binary.BigEndian.PutUint16(tcp[16:], checksumFold(sum))
}
