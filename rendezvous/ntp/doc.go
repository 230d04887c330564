// Package ntp tells how far a host's clock is from another one, and within
// which bound that is sure: a client of NTP (RFC 5905, client/server mode) whose
// result is a timing.Offset, and a server that two peers can ask when they
// trust no other.
//
//	m, err := ntp.Measure(ctx, server, nil)
//	if err != nil {
//		return err
//	}
//	fmt.Println(m.Offset) // +1.2ms ±300µs, server minus local
//
// Packet (the wire format), Respond (what to answer) and Filter (what several
// exchanges say together) are pure.
//
// # Two offsets
//
// Measurement.Offset is the server's clock against the local one. Its bound
// is half of the time on the way, whatever the asymmetry of the path, plus what
// the clocks may have drifted between the exchanges: see Filter. It is what two
// peers need that asked the same server, and it holds even when the server's own clock
// is wrong.
//
// Measurement.UTC is the true time against the local clock. Its bound
// is larger by what the server says about itself, half of its root delay plus its root
// dispersion (RFC 5905, section 11.2: synchronization distance). It is what two peers
// need that asked different servers, and it holds as far as these tell the truth.
//
// # What is not believed
//
// A request carries 64 random bits as its transmit timestamp, and only the packet
// that gives them back, from the address that was asked, is its
// answer (RFC 9109 and draft-ietf-ntp-data-minimization say why). So who does not see the packets can
// neither answer nor send a kiss o' death. Each is used once: a replay is none.
// What is not the answer is passed over, and counted.
package ntp
