package nat

// What every word type does: String, and the text form of encoding.

func (v Translation) String() string { return word(translationWords, v) }

func (v Translation) MarshalText() ([]byte, error) { return marshalWord(translationWords, v) }

func (v *Translation) UnmarshalText(b []byte) error { return unmarshalWord(translationWords, v, b) }

func (v Mapping) String() string { return word(mappingWords, v) }

func (v Mapping) MarshalText() ([]byte, error) { return marshalWord(mappingWords, v) }

func (v *Mapping) UnmarshalText(b []byte) error { return unmarshalWord(mappingWords, v, b) }

func (v Filtering) String() string { return word(filteringWords, v) }

func (v Filtering) MarshalText() ([]byte, error) { return marshalWord(filteringWords, v) }

func (v *Filtering) UnmarshalText(b []byte) error { return unmarshalWord(filteringWords, v, b) }

func (v Allocation) String() string { return word(allocationWords, v) }

func (v Allocation) MarshalText() ([]byte, error) { return marshalWord(allocationWords, v) }

func (v *Allocation) UnmarshalText(b []byte) error { return unmarshalWord(allocationWords, v, b) }

func (v Collision) String() string { return word(collisionWords, v) }

func (v Collision) MarshalText() ([]byte, error) { return marshalWord(collisionWords, v) }

func (v *Collision) UnmarshalText(b []byte) error { return unmarshalWord(collisionWords, v, b) }

func (v Parity) String() string { return word(parityWords, v) }

func (v Parity) MarshalText() ([]byte, error) { return marshalWord(parityWords, v) }

func (v *Parity) UnmarshalText(b []byte) error { return unmarshalWord(parityWords, v, b) }

func (v Counter) String() string { return word(counterWords, v) }

func (v Counter) MarshalText() ([]byte, error) { return marshalWord(counterWords, v) }

func (v *Counter) UnmarshalText(b []byte) error { return unmarshalWord(counterWords, v, b) }

func (v Order) String() string { return word(orderWords, v) }

func (v Order) MarshalText() ([]byte, error) { return marshalWord(orderWords, v) }

func (v *Order) UnmarshalText(b []byte) error { return unmarshalWord(orderWords, v, b) }

func (v Pooling) String() string { return word(poolingWords, v) }

func (v Pooling) MarshalText() ([]byte, error) { return marshalWord(poolingWords, v) }

func (v *Pooling) UnmarshalText(b []byte) error { return unmarshalWord(poolingWords, v, b) }

func (v Hairpinning) String() string { return word(hairpinningWords, v) }

func (v Hairpinning) MarshalText() ([]byte, error) { return marshalWord(hairpinningWords, v) }

func (v *Hairpinning) UnmarshalText(b []byte) error { return unmarshalWord(hairpinningWords, v, b) }

func (v Unsolicited) String() string { return word(unsolicitedWords, v) }

func (v Unsolicited) MarshalText() ([]byte, error) { return marshalWord(unsolicitedWords, v) }

func (v *Unsolicited) UnmarshalText(b []byte) error { return unmarshalWord(unsolicitedWords, v, b) }

func (v InboundSYN) String() string { return word(inboundSYNWords, v) }

func (v InboundSYN) MarshalText() ([]byte, error) { return marshalWord(inboundSYNWords, v) }

func (v *InboundSYN) UnmarshalText(b []byte) error { return unmarshalWord(inboundSYNWords, v, b) }

func (v OutboundSYNACK) String() string { return word(outboundSYNACKWords, v) }

func (v OutboundSYNACK) MarshalText() ([]byte, error) { return marshalWord(outboundSYNACKWords, v) }

func (v *OutboundSYNACK) UnmarshalText(b []byte) error {
	return unmarshalWord(outboundSYNACKWords, v, b)
}

func (v SACKFix) String() string { return word(sackWords, v) }

func (v SACKFix) MarshalText() ([]byte, error) { return marshalWord(sackWords, v) }

func (v *SACKFix) UnmarshalText(b []byte) error { return unmarshalWord(sackWords, v, b) }

func (v Tracking) String() string { return word(trackingWords, v) }

func (v Tracking) MarshalText() ([]byte, error) { return marshalWord(trackingWords, v) }

func (v *Tracking) UnmarshalText(b []byte) error { return unmarshalWord(trackingWords, v, b) }

func (v Full) String() string { return word(fullWords, v) }

func (v Full) MarshalText() ([]byte, error) { return marshalWord(fullWords, v) }

func (v *Full) UnmarshalText(b []byte) error { return unmarshalWord(fullWords, v, b) }

func (v Hop) String() string { return word(hopWords, v) }

func (v Hop) MarshalText() ([]byte, error) { return marshalWord(hopWords, v) }

func (v *Hop) UnmarshalText(b []byte) error { return unmarshalWord(hopWords, v, b) }
