package rawtcp

// SACKBlock is one range of received data: Left is its first sequence number,
// Right the one after its last (RFC 2018 section 3).
type SACKBlock struct{ Left, Right Seq }

// Options are the TCP options that a handshake exchanges. The zero value is no
// options, and two values can be compared with ==.
type Options struct {
	MSS           uint16 // largest segment the sender can take, bytes (RFC 9293 section 3.7.1); 0 = absent
	WScale        uint8  // window shift, 0 to 14 (RFC 7323 section 2.2); means something with HasWScale only
	HasWScale     bool
	SACKPermitted bool // RFC 2018 section 2
	HasTimestamps bool // RFC 7323 section 3.2
	TSVal, TSEcr  uint32
	SACK          [4]SACKBlock // the first NSACK are valid (RFC 2018 section 3)
	NSACK         uint8

	// Seen by Parse and reported, but neither interpreted nor written by
	// Append: TCP Fast Open (kind 34, RFC 7413), Multipath TCP (kind 30,
	// RFC 8684), and any other kind.
	FastOpen, MPTCP, Other bool
}
