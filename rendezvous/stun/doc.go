// Package stun tells a host its public endpoint: the client asks a server of
// RFC 8489 over UDP or TCP from which address and port it was seen, from the
// very local port that a punch is going to use; the server answers, and offers
// what RFC 5780 needs to find out how a NAT behaves.
//
//	b, err := stun.Query(ctx, server, &stun.Config{Network: "tcp", Local: netip.MustParseAddrPort("0.0.0.0:40000")})
//	if err != nil {
//		return err
//	}
//	fmt.Println(b.Mapped) // 203.0.113.7:50123
//
// Only the Binding method is there, without the authentication that nobody uses
// for it. Message (the wire format) and Responder (what to answer) are pure:
// bytes in, bytes out, no socket and no clock.
//
// # What the server sends at most
//
// Somebody who forges the source of a UDP request turns the answer on somebody
// else. So an answer, IP and UDP headers included, is never more than 2.6
// times the request, each client has a rate limit, and only
// requests are answered, so that two servers cannot be set on each other.
//
// # Old clients
//
// A request without the magic cookie is one of RFC 3489. Its answer has
// MAPPED-ADDRESS, SOURCE-ADDRESS and CHANGED-ADDRESS alone; all others get XOR-MAPPED-ADDRESS,
// MAPPED-ADDRESS, RESPONSE-ORIGIN and OTHER-ADDRESS.
package stun
