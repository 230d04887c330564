package rawtcp

// scripts is one behaviour a script.
var scripts = []struct{ name, text string }{

	// Opening

	{"ordinary open against a listening socket", `
		0.000 > S seq 0 win 64240 mss 1460 sackOK ts 1000 ecr 0 wscale 7
		0.040 < S. ack 1 win 65160 mss 1440 sackOK ts 500 ecr 1000 wscale 9
		0.040 > . seq 1 ack 1 win 502 ts 1040 ecr 500 !mss !wscale !sackOK
		0.040 = ESTABLISHED !simultaneous ready fine irs 0 rcvnxt 1 sndnxt 1 snduna 1 mss 1440 ourmss 1460
		0.040 = ESTABLISHED sack ts wscale sndscale 9 rcvscale 7 sndwnd 65160 maxwnd 65160 wl1 0 rcvwnd 64256 wup 1 tsrecent 500 data 0`},
	{"simultaneous open, RFC 9293 figure 7", `
		0.000 > S seq 0
		0.020 < S seq 0 win 65160 mss 1440 sackOK ts 500 wscale 9
		0.020 > S. seq 0 ack 1 win 64240 mss 1460 sackOK ts 1020 ecr 500 wscale 7
		0.020 = SYN-RECEIVED simultaneous !ready snduna 0 sndwnd 65160
		0.040 < S. ack 1 win 65160 mss 1440 sackOK ts 520 ecr 1000 wscale 9
		0.040 > . seq 1 ack 1 win 502 ts 1040 ecr 520
		0.040 = ESTABLISHED simultaneous ready snduna 1 sndwnd 65160 wl1 0 tsrecent 520
		9.000 = ESTABLISHED`},
	{"a challenge ACK instead of the SYN-ACK, and our ACK that lets an old kernel finish", `
		0.000 > S
		0.020 < S ts 500
		0.020 > S. seq 0 ack 1
		0.060 < . seq 1 ack 1 ts 540 ecr 1000
		0.060 > . seq 1 ack 1
		0.060 = ESTABLISHED simultaneous`},
	{"an old kernel sends SYN-ACK and challenge ACK", `
		0.000 > S
		0.020 < S
		0.020 > S.
		0.040 < S. ack 1
		0.040 > . seq 1 ack 1
		0.060 < . seq 1 ack 1
		0.060 = ESTABLISHED challengesseen 1`},
	{"our SYN never came, the peer answers our SYN-ACK", `
		0.000 > S
		0.020 < S win 1000 wscale 4
		0.020 > S.
		0.060 < . win 2000
		0.060 > . seq 1 ack 1
		0.060 = ESTABLISHED sndwnd 32000 maxwnd 32000 wl1 1`},
	{"a retransmitted SYN-ACK in ESTABLISHED gets its ACK", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > . seq 1 ack 1
		1.040 < S. ack 1
		1.040 > . seq 1 ack 1
		1.040 = ESTABLISHED duplicates 1`},
	{"a duplicate SYN in SYN-RECEIVED gets the SYN-ACK again", `
		0.000 > S
		0.020 < S ts 500
		0.020 > S. seq 0 ack 1 ts 1020 ecr 500
		0.120 < S ts 600
		0.120 > S. seq 0 ack 1 ts 1120 ecr 600
		0.120 = SYN-RECEIVED duplicates 1 synacks 2
		1.020 > S seq 0
		1.020 > S. seq 0 ack 1  # the timer goes on`},
	{"segments of another flow", `
		0.000 > S
		0.020 < S. ack 1 stranger
		0.020 < R. ack 1 stranger
		0.020 = SYN-SENT dropped 2 rsts 0`},
	{"segments without SYN, ACK or RST", `
		0.000 > S
		0.020 < - len 5
		0.020 = SYN-SENT dropped 1
		0.030 < S
		0.030 > S.
		0.040 < F len 5
		0.040 = SYN-RECEIVED dropped 2
		0.050 < S. ack 1
		0.050 > .
		0.060 < P len 5
		0.060 = ESTABLISHED dropped 3 data 0`},
	{"early", `
		config early
		0.000 > S
		0.010 = SYN-SENT !ready
		0.020 < S win 5000 wscale 3
		0.020 > S.
		0.020 = SYN-RECEIVED ready sndnxt 1 snduna 0 rcvnxt 1 sndwnd 5000 rcvwnd 64240 wup 1 data 0`},
	{"an ACK alone does not open anything", `
		0.000 > S
		0.020 < . seq 1 ack 1
		0.020 < . seq 1 ack 1 len 10
		0.020 = SYN-SENT challengesseen 2`},
	{"TTL of every segment", `
		config ttl 4
		0.000 > S
		0.020 < S
		0.020 > S.
		0.030 < S. ack 1
		0.030 > .`},

	// Retransmission

	{"the SYN is retransmitted, doubling, until the timeout", `
		0.000 > S seq 0 ts 1000
		1.000 > S seq 0 ts 2000
		3.000 > S seq 0 ts 4000
		7.000 > S seq 0 ts 8000
		9.999 = SYN-SENT retransmissions 3 syns 4
		10.000 = FAILED timeout
		10.000 < S.
		60.000 = FAILED timeout`},
	{"MaxRTO bounds the doubling", `
		config maxrto 2 timeout 8
		0.000 > S
		1.000 > S
		3.000 > S
		5.000 > S
		7.000 > S
		8.000 = FAILED timeout`},
	{"the SYN-ACK is retransmitted behind the SYN; the timeout tells the peer", `
		config timeout 4
		0.000 > S
		0.500 < S ts 9
		0.500 > S. ack 1
		1.500 > S seq 0 ts 2500 ecr 0
		1.500 > S. seq 0 ack 1 ts 2500 ecr 9
		3.500 > S seq 0
		3.500 > S. seq 0 ack 1
		4.000 > R seq 1
		4.000 = FAILED timeout retransmissions 2`},
	{"a SYN-ACK starts with the first RTO again, alone under PolicyFail", `
		config reset fail
		0.000 > S
		1.000 > S
		3.000 > S
		3.100 < S
		3.100 > S.
		4.100 > S.
		6.100 > S.
		6.200 < S. ack 1
		6.200 > .`},

	// Resets

	{"a reset in SYN-SENT: the SYN again at once, the same ISN", `
		0.000 > S seq 0 ts 1000
		0.040 < R. seq 0 ack 1
		0.040 > S seq 0 ts 1040
		0.040 = SYN-SENT rsts 1 rstsignored 0 resends 1
		1.040 > S seq 0`},
	{"a reset in SYN-SENT under PolicyFail", `
		config reset fail
		0.000 > S
		0.040 < R. seq 0 ack 1
		0.040 = FAILED refused`},
	{"a reset in SYN-SENT under PolicyIgnore", `
		config reset ignore
		0.000 > S
		0.040 < R. seq 0 ack 1
		0.040 = SYN-SENT rsts 1
		1.000 > S`},
	{"resets in SYN-SENT that do not acknowledge our SYN", `
		config reset fail
		0.000 > S
		0.010 < R seq 0
		0.010 < R seq 1
		0.010 < R. seq 0 ack 0
		0.010 < R. seq 0 ack 2
		0.010 < R. seq 0 ack -5000
		0.010 = SYN-SENT rsts 5 rstsignored 5`},
	{"Retries bounds the resends, the timer goes on", `
		config retries 1
		0.000 > S
		0.040 < R. seq 0 ack 1
		0.040 > S
		0.080 < R. seq 0 ack 1
		0.080 = SYN-SENT rsts 2 resends 1
		1.040 > S
		1.080 < R. seq 0 ack 1
		3.040 > S
		3.040 = SYN-SENT resends 1 retransmissions 2`},
	{"no Retries", `
		config retries -1
		0.000 > S
		0.040 < R. seq 0 ack 1
		1.000 > S`},
	{"a second reset while the resend waits changes nothing", `
		0.000 > S
		0.040 < R. seq 0 ack 1
		0.040 > S
		0.080 < R. seq 0 ack 1
		0.080 < R. seq 0 ack 1
		0.080 < R. seq 0 ack 1
		0.080 = SYN-SENT resends 2 syns 2 rsts 4
		0.080..0.120 > S
		0.150 = SYN-SENT resends 2 syns 3`},
	{"the peer's SYN while the resend waits", `
		0.000 > S
		0.040 < R. seq 0 ack 1
		0.040 > S
		0.080 < R. seq 0 ack 1
		0.081 < S
		0.081 > S. seq 0 ack 1
		0.100 = SYN-RECEIVED syns 2
		0.121 < S. ack 1
		0.121 > .
		0.121 = ESTABLISHED`},
	{"an acceptable reset in SYN-RECEIVED leads back to SYN-SENT", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.060 < R seq 1
		0.060 > S seq 0
		0.060 = SYN-SENT !simultaneous rsts 1 rstsignored 0 resends 1 rcvnxt 1
		1.060 > S`},
	{"... and the peer starts anew", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.060 < R seq 1
		0.060 > S
		0.070 < S seq 5000
		0.070 > S. seq 0 ack 5001
		0.090 < S. seq 5000 ack 1
		0.090 > . seq 1 ack 5001
		0.090 = ESTABLISHED simultaneous irs 5000`},
	{"... or its SYN comes once more", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.060 < R seq 1
		0.060 > S
		0.070 < S
		0.070 > S. ack 1
		0.090 < P. seq 1000 ack 1 len 10
		0.090 > . ack 1
		0.095 < P. seq 1 ack 1 len 999
		0.095 > . ack 1010
		0.095 = ESTABLISHED simultaneous irs 0 data 1009`},
	{"... or answers the SYN with a new SYN-ACK", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.060 < R seq 1
		0.060 > S
		0.100 < S. seq 7000 ack 1
		0.100 > . seq 1 ack 7001
		0.100 = ESTABLISHED !simultaneous irs 7000`},
	{"... or a NAT sent the reset and the peer goes on", `
		0.000 > S
		0.020 < S win 100 wscale 2
		0.020 > S. ack 1
		0.060 < R seq 1
		0.060 > S
		0.100 < P. seq 1 ack 1 len 10
		0.100 > . seq 1 ack 11
		0.100 = ESTABLISHED simultaneous irs 0 data 10 sndscale 2`},
	{"... the peer's old ISN is no proof without our ACK", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.060 < R seq 1
		0.060 > S
		0.100 < P. seq 1 ack 2 len 10
		0.100 = SYN-SENT
		0.110 < . seq 70000 ack 1
		0.110 = SYN-SENT challengesseen 1
		0.120 < . seq 60000 ack 1
		0.120 > . seq 1 ack 1
		0.120 = ESTABLISHED irs 0`},
	{"an acceptable reset in SYN-RECEIVED under PolicyFail", `
		config reset fail
		0.000 > S
		0.020 < S
		0.020 > S.
		0.060 < R seq 1
		0.060 = FAILED refused`},
	{"an acceptable reset in SYN-RECEIVED under PolicyIgnore", `
		config reset ignore
		0.000 > S
		0.020 < S
		0.020 > S.
		0.060 < R seq 1
		0.060 = SYN-RECEIVED rsts 1
		0.070 < S. ack 1
		0.070 > .`},
	{"a reset in the window of SYN-RECEIVED is challenged, RFC 5961 3.2", `
		config reset fail
		0.000 > S
		0.020 < S
		0.020 > S.
		0.060 < R seq 2
		0.060 > . seq 1 ack 1
		0.061 < R. seq 1000 ack 1
		0.061 > . seq 1 ack 1
		0.062 < R seq 0
		0.062 < R seq 65000
		0.062 < R. seq -20000 ack 1
		0.062 = SYN-RECEIVED rsts 5 rstsignored 5 challengessent 2`},
	{"a reset for our SYN that comes late closed our NAT: the SYN opens it", `
		0.000 > S
		0.020 < S
		0.020 > S.
		0.021 < R. seq 20000 ack 1
		0.021 > S seq 0
		0.021 = SYN-RECEIVED resends 1 simultaneous
		0.060 < S. ack 1
		0.060 > .
		0.060 = ESTABLISHED simultaneous`},
	{"resets in ESTABLISHED: only exactly at RCV.NXT, RFC 5961 3.2", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < P. len 10
		0.050 > . ack 11
		0.060 < R seq 1
		0.060 < R. seq 0 ack 1
		0.060 < R seq 70000
		0.060 = ESTABLISHED rstsignored 3
		0.070 < R seq 12
		0.070 > . seq 1 ack 11
		0.080 < R. seq 5000 ack 1
		0.080 > . seq 1 ack 11
		0.080 = ESTABLISHED challengessent 2
		0.090 < R seq 11
		0.090 = FAILED closed`},

	// ACKs that acknowledge something else

	{"a stale SYN-ACK in SYN-SENT is not answered", `
		0.000 > S
		0.040 < S. ack -999
		0.040 < S. ack 0
		0.040 < S. ack 2
		0.040 = SYN-SENT dropped 3`},
	{"the same stale ACK for each SYN: the peer is half open, RFC 9293 figure 9", `
		0.000 > S
		0.040 < . seq 300 ack -499
		0.050 < . seq 300 ack -499
		1.000 > S
		1.040 < . seq 300 ack -499
		1.040 > R seq -499
		1.040 > S seq 0
		1.080 < . seq 300 ack -499
		1.080 > R seq -499
		1.080 > S seq 0
		1.080 = SYN-SENT resends 2 dropped 4`},
	{"stale ACKs that differ are guesses", `
		0.000 > S
		0.040 < . seq 300 ack -499
		0.050 < . seq 400 ack -499
		1.000 > S
		1.010 < . seq 300 ack -499
		1.020 < P. seq 300 ack -500 len 10
		1.030 < . seq 300 ack -499
		1.030 = SYN-SENT dropped 5`},
	{"resets for stale ACKs count as Retries", `
		config retries 1
		0.000 > S
		0.040 < . ack -499
		1.000 > S
		1.040 < . ack -499
		1.040 > R seq -499
		1.040 > S
		1.080 < . ack -499
		1.080 = SYN-SENT resends 1`},
	{"nothing but stale segments", `
		config timeout 1
		0.000 > S
		0.040 < . ack 77
		1.000 = FAILED timeout`},
	{"stale segments in SYN-SENT under PolicyFail", `
		config reset fail
		0.000 > S
		0.040 < S. ack -999
		0.040 > R seq -999
		0.041 < . ack 77
		0.041 > R seq 77
		0.041 = SYN-SENT`},
	{"stale segments in SYN-SENT under PolicyIgnore", `
		config reset ignore
		0.000 > S
		0.040 < . ack 77
		0.040 < S. ack 77
		0.040 = SYN-SENT dropped 2`},
	{"a wrong ACK in SYN-RECEIVED", `
		0.000 > S
		0.020 < S
		0.020 > S.
		0.030 < . ack 0
		0.030 < . ack 2
		0.030 < P. ack -7 len 100
		0.030 = SYN-RECEIVED dropped 3
		0.040 < S. ack 7
		0.040 > . seq 1 ack 1
		0.040 = SYN-RECEIVED challengessent 1`},
	{"a wrong ACK in SYN-RECEIVED under PolicyFail", `
		config reset fail
		0.000 > S
		0.020 < S
		0.020 > S.
		0.030 < . ack 2
		0.030 > R seq 2
		0.030 = SYN-RECEIVED`},
	{"a wrong ACK in ESTABLISHED, RFC 5961 5.2", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < P. ack 2 len 10
		0.050 > . seq 1 ack 1
		0.060 < P. ack 0 len 10
		0.060 > . seq 1 ack 1
		0.060 = ESTABLISHED data 0 dropped 2 challengessent 2`},

	// A peer that starts anew

	{"another ISN in SYN-RECEIVED is the peer starting anew: our SYN makes it prove that", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.200 < S seq 5000 mss 1300
		0.200 > S seq 0
		0.200 = SYN-RECEIVED restarts 1 irs 0
		0.240 < S. seq 5000 ack 1 mss 1300
		0.240 > . ack 5001
		0.240 = ESTABLISHED simultaneous irs 5000 mss 1300`},
	{"the new SYN again gets a SYN-ACK, lest two ends exchange SYNs for ever", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.200 < S seq 5000 mss 1300
		0.200 > S
		0.240 < S seq 5000 mss 1300
		0.240 > S. ack 5001
		0.240 = SYN-RECEIVED restarts 1 duplicates 1 irs 0
		0.280 < P. seq 5001 ack 1 len 0
		0.280 > . ack 5001
		0.280 = ESTABLISHED irs 5000 mss 1300`},
	{"two ISNs so close that a segment fits both: only the first byte tells", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.200 < S seq 5000
		0.200 > S
		0.240 < S seq 5000
		0.240 > S. ack 5001
		0.280 < P. seq 5101 ack 1 len 10
		0.280 = SYN-RECEIVED dropped 1
		0.281 < P. seq 5001 ack 1 len 10
		0.281 > . ack 5011
		0.281 = ESTABLISHED irs 5000`},
	{"... and so does the first one", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.200 < S seq 5000
		0.200 > S
		0.240 < S seq 5000
		0.240 > S. ack 5001
		0.250 < S
		0.250 > S. ack 1
		1.020 > S               # answers do not put off the timer
		1.020 > S. ack 1
		1.060 < S. ack 1
		1.060 > . ack 1
		1.060 = ESTABLISHED irs 0`},
	{"forged SYNs in SYN-RECEIVED: the true peer's SYN-ACK decides", `
		0.000 > S
		0.020 < S mss 1300 win 7
		0.020 > S. ack 1
		0.021 < S seq 5000 mss 999 win 8
		0.021 > S
		0.022 < S seq 5000 mss 999 win 8
		0.022 > S. ack 5001
		0.023 < S seq 6000
		0.023 > S
		0.024 < S seq 6000
		0.024 > S
		0.040 < S. seq 0 ack 1 win 7
		0.040 > . ack 1
		0.040 = ESTABLISHED irs 0 mss 1300 sndwnd 7`},
	{"forged SYNs in SYN-RECEIVED: the true peer's ACK decides", `
		0.000 > S
		0.020 < S mss 1300
		0.020 > S. ack 1
		0.021 < S seq 500000 mss 999
		0.021 > S
		0.022 < S seq 500000 mss 999
		0.022 > S. ack 500001
		0.040 < P. seq 1 ack 1 len 5
		0.040 > . ack 6
		0.040 = ESTABLISHED irs 0 mss 1300 data 5`},
	{"a forged SYN came first: the true peer resets the SYN-ACK for it", `
		0.000 > S
		0.010 < S seq 5000 mss 999
		0.010 > S. ack 5001
		0.020 < S mss 1300
		0.020 > S
		0.030 < R seq 5001
		0.030 > S
		0.030 = SYN-RECEIVED irs 0 simultaneous
		0.060 < S. seq 0 ack 1 mss 1300
		0.060 > . ack 1
		0.060 = ESTABLISHED irs 0 mss 1300`},
	{"a reset for the first ISN when there is another: the SYN again, it closed our NAT", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.200 < S seq 5000
		0.200 > S
		0.210 < S seq 5000
		0.210 > S. ack 5001
		0.220 < R seq 1
		0.220 > S seq 0
		0.220 = SYN-RECEIVED irs 5000 rsts 1 rstsignored 0 resends 1`},
	{"a reset for another ISN", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.200 < S seq 5000
		0.200 > S
		0.220 < R seq 5001
		0.220 > S
		0.220 = SYN-RECEIVED irs 0 rsts 1 rstsignored 0 resends 1`},
	{"a SYN-ACK with another ISN and the right ACK", `
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.200 < S. seq 5000 ack 1 mss 1300
		0.200 > . seq 1 ack 5001
		0.200 = ESTABLISHED irs 5000 mss 1300 restarts 1`},
	{"another ISN under PolicyFail is challenged, RFC 5961 4.2", `
		config reset fail
		0.000 > S
		0.020 < S
		0.020 > S. ack 1
		0.200 < S seq 5000
		0.200 > . seq 1 ack 1
		0.210 < S. seq 5000 ack 1
		0.210 > . seq 1 ack 1
		0.210 = SYN-RECEIVED irs 0 challengessent 2 restarts 0`},
	{"a SYN in ESTABLISHED is challenged, whatever its number", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < P. len 10
		0.050 > . ack 11
		0.060 < S seq 5000
		0.060 > . seq 1 ack 11
		0.061 < S. seq -90000 ack 1
		0.061 > . seq 1 ack 11
		0.061 = ESTABLISHED challengessent 2 data 10
		0.100 < R seq 11
		0.100 = FAILED closed`},

	// Options

	{"no options offered, none used", `
		config nots nosack nowscale
		0.000 > S mss 1460 !ts !sackOK !wscale
		0.040 < S. ack 1 mss 1400 sackOK wscale 9 ts 5 ecr 0
		0.040 > . win 64240 !ts
		0.040 = ESTABLISHED !ts !sack !wscale rcvwnd 64240`},
	{"the peer offers none, none used", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > . win 64240 !ts
		0.040 = ESTABLISHED !ts !sack !wscale mss 536 rcvwnd 64240`},
	{"a crossing peer offers none: the SYN-ACK leaves them out", `
		0.000 > S ts 1000 wscale 7 sackOK
		0.020 < S mss 1200
		0.020 > S. mss 1460 !ts !wscale !sackOK
		0.040 < S. ack 1 mss 1200 ts 9 wscale 3 sackOK
		0.040 > . !ts win 64240
		0.040 = ESTABLISHED !ts !sack !wscale mss 1200`},
	{"no MSS over IPv6", `
		config ipv6
		0.000 > S mss 1440
		0.040 < S. ack 1
		0.040 > .
		0.040 = ESTABLISHED mss 1220 ourmss 1440`},
	{"a window shift above 14 is 14, RFC 7323 2.3", `
		config wscale 14
		0.000 > S wscale 14
		0.040 < S. ack 1 win 100 wscale 200
		0.040 > . win 4
		0.040 = ESTABLISHED sndscale 14 rcvscale 14 sndwnd 100 rcvwnd 65536
		0.050 < . win 100
		0.050 = ESTABLISHED sndwnd 1638400 maxwnd 1638400`},
	{"a window shift of 0 still agrees on scaling", `
		config wscale 0
		0.000 > S wscale 0
		0.040 < S. ack 1 wscale 0
		0.040 > . win 64240
		0.040 = ESTABLISHED wscale sndscale 0 rcvscale 0`},
	{"MSS and window as configured", `
		config mss 1200 window 3000
		0.000 > S mss 1200 win 3000
		0.020 < S wscale 2
		0.020 > S. mss 1200 win 3000
		0.040 < S. ack 1
		0.040 > . win 24
		0.040 = ESTABLISHED ourmss 1200 rcvwnd 3072`},
	{"window updates: only from newer segments", `
		0.000 > S
		0.040 < S. ack 1 win 100
		0.040 > .
		0.050 < P. seq 11 win 300 len 10
		0.050 > . ack 1
		0.060 < P. seq 1 win 200 len 10
		0.060 > . ack 21
		0.060 = ESTABLISHED sndwnd 300 maxwnd 300 wl1 11
		0.070 < . seq 21 win 50
		0.070 = ESTABLISHED sndwnd 50 maxwnd 300 wl1 21`},

	// Timestamps

	{"TSval goes on in milliseconds, TSEcr repeats", `
		0.000 > S ts 1000 ecr 0
		0.0409 < S. ack 1 ts 500 ecr 1000
		0.0409 > . ts 1040 ecr 500
		0.100 < P. len 10 ts 560 ecr 1040
		0.100 > . ts 1100 ecr 560
		0.101 = ESTABLISHED tsval 1102 tsrecent 560
		0.102 = ESTABLISHED tsval 1102`},
	{"out of order does not move TSEcr, RFC 7323 4.3", `
		0.000 > S
		0.040 < S. ack 1 ts 500 ecr 1000
		0.040 > .
		0.050 < P. seq 11 len 10 ts 510 ecr 1040
		0.050 > . ack 1 ecr 500
		0.060 < P. seq 1 len 10 ts 505 ecr 1040
		0.060 > . ack 21 ecr 505`},
	{"PAWS, RFC 7323 5", `
		0.000 > S
		0.040 < S. ack 1 ts 500 ecr 1000
		0.040 > .
		0.050 < P. len 10 ts 499 ecr 1040
		0.050 > . seq 1 ack 1 ecr 500
		0.060 < . ts 0 ecr 1040
		0.060 > . seq 1 ack 1
		0.060 = ESTABLISHED data 0 dropped 2 tsrecent 500
		0.070 < P. len 10
		0.070 > . ack 11
		0.070 = ESTABLISHED data 10
		0.080 < R seq 11 ts 1
		0.080 = FAILED closed`},
	{"PAWS in SYN-RECEIVED", `
		0.000 > S
		0.020 < S ts 500
		0.020 > S.
		0.030 < P. len 10 ts 400 ecr 1000
		0.030 > . ack 1
		0.030 = SYN-RECEIVED
		0.040 < P. len 10 ts 500 ecr 1000
		0.040 > . ack 11
		0.040 = ESTABLISHED`},

	// Data

	{"data with the ACK that establishes", `
		0.000 > S
		0.020 < S
		0.020 > S.
		0.040 < P. len 100
		0.040 > . seq 1 ack 101 win 64140
		0.040 = ESTABLISHED data 100 rcvnxt 101 rcvwnd 64140 wup 101`},
	{"data in order", `
		0.000 > S
		0.040 < S. ack 1 wscale 0
		0.040 > . ack 1 win 502
		0.050 < . len 1000
		0.050 > . ack 1001 win 495
		0.050 < P. seq 1001 len 1
		0.050 > . ack 1002 win 495
		0.050 = ESTABLISHED data 1001 rcvwnd 63360 wup 1002`},
	{"data out of order", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < . seq 11 len 10
		0.050 > . ack 1
		0.050 < . seq 31 len 10
		0.050 > . ack 1
		0.050 < . seq 21 len 10
		0.050 > . ack 1
		0.050 = ESTABLISHED data 0
		0.060 < . seq 1 len 10
		0.060 > . ack 41
		0.060 = ESTABLISHED data 40`},
	{"duplicate and overlapping data", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < . seq 1 len 10
		0.050 > . ack 11
		0.051 < . seq 1 len 10
		0.051 > . ack 11
		0.052 < . seq 5 len 20
		0.052 > . ack 25
		0.053 < . seq 30 len 10
		0.053 > . ack 25
		0.054 < . seq 28 len 20
		0.054 > . ack 25
		0.055 < . seq 20 len 40
		0.055 > . ack 60
		0.055 = ESTABLISHED data 59`},
	{"early data fills the window and no more", `
		config window 100 nowscale
		0.000 > S win 100
		0.020 < S
		0.020 > S. win 100
		0.040 < . len 60
		0.040 > . ack 61 win 40
		0.050 < . seq 61 len 60
		0.050 > . ack 101 win 0
		0.060 < . seq 101 len 1
		0.060 > . ack 101 win 0
		0.070 < . seq 101
		0.080 < . seq 102
		0.080 > . ack 101 win 0
		0.090 < . seq 100 len 20
		0.090 > . ack 101 win 0
		0.090 = ESTABLISHED data 100 rcvwnd 0 wup 101`},
	{"segments outside the window are answered", `
		config window 1000 nowscale
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < . seq 0
		0.050 > . seq 1 ack 1
		0.050 < . seq -500
		0.050 > . seq 1 ack 1
		0.050 < . seq 1001
		0.050 > . seq 1 ack 1
		0.050 < . seq 1001 len 10
		0.050 > . seq 1 ack 1
		0.050 < . seq -9 len 10
		0.050 > . seq 1 ack 1
		0.050 = ESTABLISHED data 0 dropped 5`},
	{"segments outside the window in SYN-RECEIVED are answered", `
		config window 1000 nowscale
		0.000 > S
		0.020 < S
		0.020 > S.
		0.050 < . seq 0
		0.050 > . seq 1 ack 1
		0.050 < . seq 5001 len 10
		0.050 > . seq 1 ack 1
		0.050 = SYN-RECEIVED dropped 2`},
	{"data on a SYN is left to be sent again", `
		0.000 > S
		0.020 < S len 10
		0.020 > S. ack 1
		0.040 < S. ack 1 len 10
		0.040 > . ack 1
		0.050 < P. len 10
		0.050 > . ack 11
		0.050 = ESTABLISHED data 10`},
	{"data on a SYN-ACK is left to be sent again", `
		0.000 > S
		0.040 < S. ack 1 len 10
		0.040 > . ack 1
		0.040 = ESTABLISHED data 0`},
	{"data that the capture cut", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < FP. len 100 cut 60
		0.050 > . ack 61
		0.050 = ESTABLISHED data 60 !fin`},
	{"urgent data is data", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < PU. len 10
		0.050 > . ack 11
		0.050 = ESTABLISHED data 10`},

	// FIN

	{"a FIN is noted, not acknowledged", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < F. seq 1
		0.050 = ESTABLISHED fin rcvnxt 1 data 0
		0.250 < F. seq 1
		0.250 = ESTABLISHED fin`},
	{"a FIN after data", `
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < FP. seq 1 len 10
		0.050 > . ack 11
		0.050 = ESTABLISHED fin data 10
		0.250 < FP. seq 1 len 10
		0.250 > . ack 11
		0.250 = ESTABLISHED fin data 10`},
	{"a FIN with the ACK that establishes", `
		0.000 > S
		0.020 < S
		0.020 > S.
		0.040 < FP. len 10
		0.040 > . ack 11
		0.040 = ESTABLISHED fin data 10`},

	// ICMP

	{"unreachable in SYN-SENT: the SYN again at once", `
		0.000 > S
		0.040 < icmp 3/13
		0.040 > S seq 0
		0.040 = SYN-SENT icmps 1 resends 1`},
	{"unreachable in SYN-SENT over IPv6", `
		config ipv6
		0.000 > S
		0.040 < icmp 1/1
		0.040 > S seq 0
		0.050 < icmp 3/0
		0.050 = SYN-SENT icmps 2 resends 1`},
	{"time exceeded, fragmentation needed: sending the same again is no use", `
		0.000 > S
		0.040 < icmp 11/0
		0.040 < icmp 3/4
		0.040 < icmp 12/0
		0.040 = SYN-SENT icmps 3 icmpsignored 0 resends 0
		1.000 > S`},
	{"ICMP that quotes nothing in flight, RFC 5927 4.1", `
		config icmp fail
		0.000 > S
		0.040 < icmp 3/1 seq 1
		0.040 < icmp 3/1 seq -1
		0.040 < icmp 3/1 seq 900000
		0.040 < icmp 3/1 stranger
		0.040 = SYN-SENT icmps 4 icmpsignored 4`},
	{"ICMP in SYN-SENT under PolicyFail", `
		config icmp fail
		0.000 > S
		0.040 < icmp 3/1
		0.040 = FAILED unreachable`},
	{"ICMP in SYN-RECEIVED under PolicyFail", `
		config icmp fail
		0.000 > S
		0.020 < S
		0.020 > S.
		0.040 < icmp 3/10
		0.040 = FAILED unreachable`},
	{"ICMP in SYN-RECEIVED is noted", `
		0.000 > S
		0.020 < S
		0.020 > S.
		0.040 < icmp 3/10
		0.040 = SYN-RECEIVED icmps 1`},
	{"ICMP under PolicyIgnore", `
		config icmp ignore
		0.000 > S
		0.040 < icmp 3/1
		0.040 = SYN-SENT icmps 1 icmpsignored 0 resends 0`},
	{"ICMP in ESTABLISHED is ignored", `
		config icmp fail
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		0.050 < icmp 3/3
		0.050 < icmp 3/3 seq 1
		0.050 = ESTABLISHED icmpsignored 2`},

	// Limits and giving up

	{"challenges are limited, RFC 5961 7", `
		config nowscale
		0.000 > S
		0.040 < S. ack 1
		0.040 > .
		1.000 < R seq 2
		1.000 > .
		1.000 < R seq 2
		1.000 > .
		1.000 < R seq 2
		1.000 > .
		1.000 < S seq 9
		1.000 > .
		1.000 < S seq 9
		1.000 > .
		1.000 < S seq 9
		1.000 > .
		1.000 < . ack 2
		1.000 > .
		1.000 < . ack 2
		1.000 > .
		1.000 < . seq -9
		1.000 > .
		1.000 < . seq -9
		1.000 > .
		1.000 < . seq -9
		2.000 < R seq 2
		3.000 < S seq 9
		4.000 < . ack 2
		4.000 = ESTABLISHED challengessent 10
		4.100 < S. ack 1
		4.100 > .           # not a challenge: the peer waits for it
		4.200 < . len 5
		4.200 > . ack 6     # nor is this
		6.000 < R seq 7
		6.000 > .
		6.000 = ESTABLISHED challengessent 11`},
	{"abort in SYN-SENT sends nothing", `
		0.000 > S
		0.040 ! abort
		0.040 = CLOSED aborted
		0.050 < S. ack 1
		0.050 ! abort
		0.050 = CLOSED aborted`},
	{"abort in SYN-RECEIVED", `
		0.000 > S
		0.020 < S
		0.020 > S.
		0.040 ! abort
		0.040 > R seq 1
		0.040 = CLOSED aborted`},
	{"abort in ESTABLISHED", `
		0.000 > S
		0.020 < S. ack 1
		0.020 > .
		0.040 ! abort
		0.040 > R seq 1
		0.040 = CLOSED aborted
		0.040 ! abort`},
	{"abort after a failure keeps the error", `
		config reset fail
		0.000 > S
		0.020 < R. ack 1 seq 0
		0.040 ! abort
		0.040 = FAILED refused`},
}
