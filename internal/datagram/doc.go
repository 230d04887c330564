// Package datagram is the UDP socket of a server: it tells for each packet to
// which address of the host it came and when, and answers from that address.
package datagram
