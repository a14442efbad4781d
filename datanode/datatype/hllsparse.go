package datatype

const (
	hllShortZeros  = 64 // the longest run that one byte tells of
	hllSparseValue = 32 // the largest register of the sparse form
	hllSparseRun   = 4  // the longest run of one value but zero
)

// hllRun is a run of equal registers in the sparse form.
type hllRun struct {
	value  byte
	length int
	size   int // bytes
}

// runAt reads the run at an offset within h. A byte that is missing at the end counts as 0.
func (h *HLL) runAt(at int) hllRun {
	b := h.b[at]
	switch {
	case b >= 0x80:
		return hllRun{b>>2&0x1f + 1, int(b&3) + 1, 1}
	case b < 0x40:
		return hllRun{0, int(b) + 1, 1}
	}
	length := int(b&0x3f) << 8
	if at+1 < len(h.b) {
		length |= int(h.b[at+1])
	}
	return hllRun{0, length + 1, 2}
}

// appendRun writes a run, if it is one.
func appendRun(dst []byte, value byte, length int) []byte {
	switch {
	case length <= 0:
		return dst
	case value != 0:
		return append(dst, 0x80|(value-1)<<2|byte(length-1))
	case length <= hllShortZeros:
		return append(dst, byte(length-1))
	}
	return append(dst, 0x40|byte((length-1)>>8), byte(length-1))
}

// setSparse is set for the sparse form, which becomes dense where the value or the length demands it. It takes a walk over
// the runs before the register.
func (h *HLL) setSparse(register int, value byte) (bool, error) {
	if value > hllSparseValue {
		return h.promote(register, value)
	}
	at, first, before := hllHeader, 0, -1
	var r hllRun
	for at < len(h.b) {
		if r = h.runAt(at); register < first+r.length {
			break
		}
		before = at
		at, first = at+r.size, first+r.length
	}
	if at+r.size > len(h.b) || r.length == 0 {
		return false, ErrHLLCorrupt
	}
	if r.value >= value {
		return false, nil
	}
	last := first + r.length - 1
	var cut [5]byte
	runs := appendRun(cut[:0], r.value, register-first)
	runs = appendRun(runs, value, 1)
	runs = appendRun(runs, r.value, last-register)
	if more := len(runs) - r.size; more > 0 && len(h.b)+more > HLLSparseBytes {
		return h.promote(register, value)
	}
	h.b = splice(h.b, at, at+r.size, len(runs))
	copy(h.b[at:], runs)
	h.join(max(before, hllHeader))
	h.Invalidate()
	return true, nil
}

// promote changes to the dense form and sets a register that was lower.
func (h *HLL) promote(register int, value byte) (bool, error) {
	if _, err := h.ToDense(); err != nil {
		return false, err
	}
	return h.setDense(register, value), nil
}

// join makes one run of neighbours with the same value but zero, among the next five from an offset on, as Redis does.
func (h *HLL) join(at int) {
	for left := 5; at < len(h.b) && left > 0; left-- {
		r := h.runAt(at)
		if r.value != 0 && at+1 < len(h.b) {
			if next := h.runAt(at + 1); next.value == r.value && next.length+r.length <= hllSparseRun {
				h.b = splice(h.b, at, at+1, 0)
				appendRun(h.b[at:at], r.value, r.length+next.length)
				continue
			}
		}
		at += r.size
	}
}
