package datatype

import "strconv"

// packedUnknown is the number of parts where they are too many for two bytes.
const packedUnknown = 1<<16 - 1

// openListpack is for the form of Redis 7: length (4), number of parts (2), parts, 0xff. A part is a byte of kind and
// length, the rest of the length, the text or number, and the size of all that, written so that it can be read from its end.
func (p *dumpParts) openListpack() {
	p.sized()
	p.left = p.r.number(2, false)
	p.counted, p.end = p.left != packedUnknown, 0xff
	p.next = p.listpackPart
}

func (p *dumpParts) listpackPart(buf *[]byte) []byte {
	p.counts()
	all := p.r.b
	var text []byte
	switch kind := p.r.number(1, false); {
	case kind < 0x80:
		*buf = strconv.AppendUint((*buf)[:0], kind, 10)
		text = *buf
	case kind < 0xc0:
		text = p.r.take(kind & 0x3f)
	case kind < 0xe0:
		v := int64((kind&0x1f<<8|p.r.number(1, false))<<51) >> 51
		*buf = strconv.AppendInt((*buf)[:0], v, 10)
		text = *buf
	case kind < 0xf0:
		text = p.r.take(kind&0xf<<8 | p.r.number(1, false))
	case kind == 0xf0:
		text = p.r.take(p.r.number(4, false))
	case kind <= 0xf4:
		text = p.integer(buf, [...]int{2, 3, 4, 8}[kind-0xf1])
	default:
		p.r.fail()
	}
	if size := len(all) - len(p.r.b); p.r.err == nil {
		var back [5]byte
		if want := appendBack(back[:0], size); string(p.r.take(uint64(len(want)))) != string(want) {
			p.r.fail()
		}
	}
	return text
}

// appendBack writes the size of a listpack's part: seven bits in each byte, the last ones in the last byte, all but the first byte
// with the highest bit set.
func appendBack(dst []byte, size int) []byte {
	n := 1
	for s := size >> 7; s > 0; s >>= 7 {
		n++
	}
	for i := n - 1; i >= 0; i-- {
		b := byte(size>>(7*i)) & 0x7f
		if i < n-1 {
			b |= 0x80
		}
		dst = append(dst, b)
	}
	return dst
}

// appendPart appends a part of a listpack, as a number where the text is one.
func appendPart(dst, text []byte) []byte {
	start := len(dst)
	if v, ok := ParseInt(text); ok {
		dst = appendPartInt(dst, v)
	} else {
		switch n := len(text); {
		case n < 1<<6:
			dst = append(dst, 0x80|byte(n))
		case n < 1<<12:
			dst = append(dst, 0xe0|byte(n>>8), byte(n))
		default:
			dst = append(dst, 0xf0, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
		}
		dst = append(dst, text...)
	}
	return appendBack(dst, len(dst)-start)
}

func appendPartInt(dst []byte, v int64) []byte {
	bytes := 0
	switch {
	case v >= 0 && v < 1<<7:
		return append(dst, byte(v))
	case v >= -1<<12 && v < 1<<12:
		return append(dst, 0xc0|byte(v>>8)&0x1f, byte(v))
	case v >= -1<<15 && v < 1<<15:
		dst, bytes = append(dst, 0xf1), 2
	case v >= -1<<23 && v < 1<<23:
		dst, bytes = append(dst, 0xf2), 3
	case v >= -1<<31 && v < 1<<31:
		dst, bytes = append(dst, 0xf3), 4
	default:
		dst, bytes = append(dst, 0xf4), 8
	}
	for i := range bytes {
		dst = append(dst, byte(v>>(8*i)))
	}
	return dst
}

// openZiplist is for the form before Redis 7: length (4), where the last part is (4), number of parts (2), parts, 0xff. A part is
// the size of the one before, a byte of kind and length, the rest of the length, and the text or number.
func (p *dumpParts) openZiplist() {
	p.sized()
	p.r.take(4)
	p.left = p.r.number(2, false)
	p.counted, p.end = p.left != packedUnknown, 0xff
	p.next = p.ziplistPart
}

func (p *dumpParts) ziplistPart(buf *[]byte) []byte {
	p.counts()
	all := p.r.b
	before := p.r.number(1, false)
	if before == 254 {
		before = p.r.number(4, false)
	}
	if before != p.before {
		p.r.fail()
	}
	var text []byte
	switch kind := p.r.number(1, false); {
	case kind < 0x40:
		text = p.r.take(kind)
	case kind < 0x80:
		text = p.r.take(kind&0x3f<<8 | p.r.number(1, false))
	case kind == 0x80:
		text = p.r.take(p.r.number(4, true))
	case kind == 0xc0:
		text = p.integer(buf, 2)
	case kind == 0xd0:
		text = p.integer(buf, 4)
	case kind == 0xe0:
		text = p.integer(buf, 8)
	case kind == 0xf0:
		text = p.integer(buf, 3)
	case kind == 0xfe:
		text = p.integer(buf, 1)
	case kind >= 0xf1 && kind <= 0xfd:
		*buf = strconv.AppendUint((*buf)[:0], kind-0xf1, 10)
		text = *buf
	default:
		p.r.fail()
	}
	p.before = uint64(len(all) - len(p.r.b))
	return text
}
