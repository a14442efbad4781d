package datatype

// LZF is the compression of strings in Redis' dumps (liblzf by Marc Lehmann): runs of literals, and copies of up to 264 bytes from
// at most 8,192 bytes before.
const (
	lzfLiterals = 32
	lzfDistance = 1 << 13
	lzfCopy     = 264
	lzfGrowth   = lzfCopy / 3 // the most bytes that one makes
	lzfHashBits = 13
)

// appendLZF appends src in fewer than limit bytes, if it can be.
func appendLZF(dst, src []byte, limit int) ([]byte, bool) {
	var places [1 << lzfHashBits]int32 // one more than where three bytes were seen
	start, from := len(dst), 0
	literals := func(to int) {
		for from < to {
			n := min(to-from, lzfLiterals)
			dst = append(append(dst, byte(n-1)), src[from:from+n]...)
			from += n
		}
	}
	for i := 0; i+2 < len(src); {
		if len(dst)-start+i-from >= limit {
			return dst[:start], false
		}
		h := (uint32(src[i])<<16 | uint32(src[i+1])<<8 | uint32(src[i+2])) * 0x9e3779b1 >> (32 - lzfHashBits)
		at := int(places[h]) - 1
		places[h] = int32(i) + 1
		if at < 0 || i-at > lzfDistance || string(src[at:at+3]) != string(src[i:i+3]) {
			i++
			continue
		}
		n := 3
		for n < lzfCopy && i+n < len(src) && src[at+n] == src[i+n] {
			n++
		}
		literals(i)
		back := i - at - 1
		if n < 9 {
			dst = append(dst, byte((n-2)<<5|back>>8), byte(back))
		} else {
			dst = append(dst, byte(7<<5|back>>8), byte(n-9), byte(back))
		}
		i += n
		from = i
	}
	literals(len(src))
	if len(dst)-start >= limit {
		return dst[:start], false
	}
	return dst, true
}

// appendUnLZF appends what src stands for, which must be n bytes.
func appendUnLZF(dst, src []byte, n int) ([]byte, bool) {
	start := len(dst)
	for len(src) > 0 {
		control := int(src[0])
		if control < lzfLiterals {
			if len(src) < control+2 || len(dst)-start+control+1 > n {
				return dst[:start], false
			}
			dst = append(dst, src[1:control+2]...)
			src = src[control+2:]
			continue
		}
		length, at := control>>5+2, 1
		if length == 9 {
			if len(src) < 3 {
				return dst[:start], false
			}
			length += int(src[1])
			at = 2
		}
		if len(src) <= at {
			return dst[:start], false
		}
		from := len(dst) - (control&0x1f<<8 | int(src[at])) - 1
		if from < start || len(dst)-start+length > n {
			return dst[:start], false
		}
		for i := range length { // which may overlap
			dst = append(dst, dst[from+i])
		}
		src = src[at+1:]
	}
	return dst, len(dst)-start == n
}
