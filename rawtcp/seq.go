package rawtcp

// Seq is a TCP sequence number. Numbers wrap at 2^32, so they are compared by
// the sign of their difference (RFC 9293 section 3.4); a comparison is
// meaningful while the two are less than 2^31 apart.
type Seq uint32

// Add returns the sequence number n later, or earlier if n is negative.
func (s Seq) Add(n int) Seq { return s + Seq(uint32(n)) }

// Sub returns the distance from t to s: positive when s is later than t.
func (s Seq) Sub(t Seq) int32 { return int32(s - t) }

// Less reports whether s comes before t.
func (s Seq) Less(t Seq) bool { return s.Sub(t) < 0 }

// LessEq reports whether s comes before t or is t.
func (s Seq) LessEq(t Seq) bool { return s.Sub(t) <= 0 }

// InWindow reports whether s is one of the size numbers that begin at start.
// Nothing is in a window of size 0.
func (s Seq) InWindow(start Seq, size uint32) bool { return uint32(s-start) < size }
