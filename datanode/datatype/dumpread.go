package datatype

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/atolldb/atoll/datanode/store"
)

// dumpReader reads the parts of a dump. What is damaged is ErrDump; nothing is allocated for more than what stands for it.
type dumpReader struct {
	b        []byte
	err      error
	unpacked uint64 // bytes of all compressed strings so far
}

func (r *dumpReader) fail() {
	r.b, r.err = nil, ErrDump
}

// take returns the next n bytes.
func (r *dumpReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// number reads n bytes, the lowest first, or the highest; it is 0 where they are missing.
func (r *dumpReader) number(n int, bigEndian bool) (v uint64) {
	p := r.take(uint64(n))
	for i := range p {
		if bigEndian {
			v = v<<8 | uint64(p[i])
		} else {
			v |= uint64(p[i]) << (8 * i)
		}
	}
	return v
}

// length reads a length; special says that it is the kind of a string that isn't plain.
func (r *dumpReader) length() (n uint64, special bool) {
	first := r.number(1, true)
	switch first >> 6 {
	case 0:
		return first & 0x3f, false
	case 1:
		return first&0x3f<<8 | r.number(1, true), false
	case 3:
		return first & 0x3f, true
	}
	switch first {
	case 0x80:
		return r.number(4, true), false
	case 0x81:
		return r.number(8, true), false
	}
	r.fail()
	return 0, false
}

// count reads the number of parts that follow, each of at least one byte.
func (r *dumpReader) count() uint64 {
	n, special := r.length()
	if special || n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return n
}

// text reads a string. What isn't there as it stands is put into buf.
func (r *dumpReader) text(buf *[]byte) []byte {
	n, special := r.length()
	if !special {
		return r.take(n)
	}
	switch n {
	case 0, 1, 2:
		bits := 8 << n
		v := int64(r.number(bits/8, false)<<(64-bits)) >> (64 - bits)
		*buf = strconv.AppendInt((*buf)[:0], v, 10)
		return *buf
	case 3:
		packed, special := r.length()
		size, special2 := r.length()
		p := r.take(packed)
		if special || special2 || size > MaxStringBytes || size > packed*lzfGrowth {
			r.fail()
			return nil
		}
		if r.unpacked += size; r.unpacked > store.MaxRunBytes { // before there is memory for it, as a field may be as large as its value
			r.b, r.err = nil, store.ErrTooLarge
			return nil
		}
		var ok bool
		if *buf, ok = appendUnLZF((*buf)[:0], p, int(size)); !ok {
			r.fail()
			return nil
		}
		return *buf
	}
	r.fail()
	return nil
}

// score reads a score, binary or as text.
func (r *dumpReader) score(text bool) float64 {
	if !text {
		return math.Float64frombits(r.number(8, false))
	}
	switch n := r.number(1, true); n {
	case 253:
		return math.NaN()
	case 254:
		return math.Inf(1)
	case 255:
		return math.Inf(-1)
	default:
		return textScore(r.take(n))
	}
}

// textScore is not a number where the text isn't one.
func textScore(b []byte) float64 {
	if f, _, ok := parseFloat(b); ok {
		return f
	}
	return math.NaN()
}

// each calls fn for the items of a dump, until it returns an error.
func (d *Dump) each(fn func(*dumpItem) error) error {
	r := &dumpReader{b: d.body}
	var err error
	switch d.form {
	case dumpString:
		var buf []byte
		if i := (dumpItem{name: r.text(&buf)}); r.err == nil {
			err = fn(&i)
		}
	case dumpList, dumpSet, dumpHash, dumpZSet, dumpZSetText:
		err = d.eachPlain(r, fn)
	case dumpZiplists, dumpListpacks:
		err = d.eachNode(r, fn)
	default:
		var buf []byte
		if blob := r.text(&buf); r.err == nil {
			err = d.eachPacked(blob, fn)
		}
	}
	if err == nil {
		err = r.err
	}
	return err
}

// eachPlain is for parts that are strings one after the other.
func (d *Dump) eachPlain(r *dumpReader, fn func(*dumpItem) error) error {
	var name, value []byte
	for n := r.count(); n > 0 && r.err == nil; n-- {
		i := dumpItem{name: r.text(&name)}
		switch d.kind {
		case store.TypeHash:
			i.value = r.text(&value)
		case store.TypeZSet:
			if i.score = r.score(d.form == dumpZSetText); math.IsNaN(i.score) {
				r.fail()
			}
		}
		if r.err != nil {
			break
		}
		if err := fn(&i); err != nil {
			return err
		}
	}
	return r.err
}

// eachNode is for lists of packed lists.
func (d *Dump) eachNode(r *dumpReader, fn func(*dumpItem) error) error {
	var buf []byte
	for n := r.count(); n > 0 && r.err == nil; n-- {
		container := uint64(nodePacked)
		if d.form == dumpListpacks {
			container, _ = r.length()
		}
		blob := r.text(&buf)
		var err error
		switch {
		case r.err != nil:
		case container == nodePlain:
			err = fn(&dumpItem{name: blob})
		case container == nodePacked:
			err = d.eachPacked(blob, fn)
		default:
			err = ErrDump
		}
		if err != nil {
			return err
		}
	}
	return r.err
}

// eachPacked is for what is one string: the items' parts are those of a listpack, a ziplist, a zipmap or an intset.
func (d *Dump) eachPacked(blob []byte, fn func(*dumpItem) error) error {
	parts := dumpParts{r: dumpReader{b: blob}}
	switch d.form {
	case dumpListpacks, dumpHashListpack, dumpZSetListpack, dumpSetListpack:
		parts.openListpack()
	case dumpSetIntset:
		parts.openIntset()
	case dumpHashZipmap:
		parts.openZipmap()
	default:
		parts.openZiplist()
	}
	for parts.more() {
		i := dumpItem{name: parts.next(&parts.first)}
		switch d.kind {
		case store.TypeHash:
			i.value = parts.next(&parts.second)
		case store.TypeZSet:
			if i.score = textScore(parts.next(&parts.second)); math.IsNaN(i.score) {
				parts.r.fail()
			}
		}
		if parts.r.err != nil {
			break
		}
		if err := fn(&i); err != nil {
			return err
		}
	}
	return parts.r.err
}

// dumpParts are strings in one of the packed forms.
type dumpParts struct {
	r             dumpReader
	next          func(buf *[]byte) []byte
	end           byte // what the last part is followed by; 0: nothing
	counted       bool // there are as many parts as left says
	left          uint64
	width         int    // of an intset's numbers
	before        uint64 // of a ziplist: the size of the part before
	first, second []byte
}

// more reports whether there is another part, and looks that nothing follows the last one.
func (p *dumpParts) more() bool {
	switch {
	case p.r.err != nil:
		return false
	case p.end == 0 && p.left > 0, len(p.r.b) > 1 && p.r.b[0] != p.end:
		return true
	case p.end == 0 && len(p.r.b) == 0, p.end != 0 && len(p.r.b) == 1 && p.r.b[0] == p.end && (!p.counted || p.left == 0):
		return false
	}
	p.r.fail()
	return false
}

// counts takes one part off the number that was announced.
func (p *dumpParts) counts() {
	if p.counted {
		if p.left == 0 {
			p.r.fail()
			return
		}
		p.left--
	}
}

func (p *dumpParts) openIntset() {
	p.width = int(p.r.number(4, false))
	p.left, p.counted = p.r.number(4, false), true
	if p.width != 2 && p.width != 4 && p.width != 8 || p.left*uint64(p.width) != uint64(len(p.r.b)) {
		p.r.fail()
	}
	p.next = func(buf *[]byte) []byte {
		p.counts()
		return p.integer(buf, p.width)
	}
}

// integer reads a signed number of so many bytes, the lowest first, as text.
func (p *dumpParts) integer(buf *[]byte, bytes int) []byte {
	shift := 64 - 8*bytes
	*buf = strconv.AppendInt((*buf)[:0], int64(p.r.number(bytes, false)<<shift)>>shift, 10)
	return *buf
}

// openZipmap is for hashes of Redis before 2.6.
func (p *dumpParts) openZipmap() {
	p.r.take(1) // the number of fields, or that it isn't known
	p.end = 0xff
	size := func() uint64 {
		switch n := p.r.number(1, false); n {
		case 254:
			return p.r.number(4, false)
		case 255:
			p.r.fail()
			return 0
		default:
			return n
		}
	}
	value := false
	p.next = func(*[]byte) []byte {
		n, free := size(), uint64(0)
		if value {
			free = p.r.number(1, false)
		}
		value = !value
		text := p.r.take(n)
		p.r.take(free)
		return text
	}
}

// sized checks the length that a packed form begins with.
func (p *dumpParts) sized() {
	if uint64(len(p.r.b)) < 4 || uint64(binary.LittleEndian.Uint32(p.r.b)) != uint64(len(p.r.b)) {
		p.r.fail()
	}
	p.r.take(4)
}
