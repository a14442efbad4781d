package command

import "github.com/atolldb/atoll/datanode/datatype"

const errLCSMemory = Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")

// lcsOptions are LCS' words behind the keys.
type lcsOptions struct {
	length, index, withLength bool
	least                     int64 // bytes of a match that is shown
}

func (o *lcsOptions) parse(c *Ctx) bool {
	for i := 3; i < len(c.Args); i++ {
		switch arg := c.Args[i]; {
		case is(arg, "IDX"):
			o.index = true
		case is(arg, "LEN"):
			o.length = true
		case is(arg, "WITHMATCHLEN"):
			o.withLength = true
		case is(arg, "MINMATCHLEN") && i+1 < len(c.Args):
			i++
			var ok bool
			if o.least, ok = c.integer(i); !ok {
				return false
			}
		default:
			c.fail(errSyntax)
			return false
		}
	}
	if o.length && o.index {
		c.fail("ERR If you want both the length and indexes, please just use IDX.")
		return false
	}
	return true
}

func lcsCommand(c *Ctx, w *work) {
	a, _, errA := w.String(c.Args[1])
	b, _, errB := w.String(c.Args[2])
	if errA != nil || errB != nil {
		c.fail("ERR The specified keys must contain string values")
		return
	}
	var o lcsOptions
	if !o.parse(c) {
		return
	}
	if o.length {
		if n, ok := datatype.LCSLen(a, b); ok {
			c.Out.Int(int64(n))
		} else {
			c.fail(errLCSMemory)
		}
		return
	}
	l := w.LCS(a, b)
	if l == nil {
		c.fail(errLCSMemory)
		return
	}
	text, matches := l.Walk()
	if !o.index {
		c.Out.Bulk(text)
		return
	}
	shown := matches[:0]
	for _, m := range matches {
		if int64(m.Length) >= o.least {
			shown = append(shown, m)
		}
	}
	c.Out.Map(2)
	c.Out.BulkString("matches")
	c.Out.Array(len(shown))
	for _, m := range shown {
		if o.withLength {
			c.Out.Array(3)
		} else {
			c.Out.Array(2)
		}
		for _, from := range [...]int{m.A, m.B} {
			c.Out.Array(2)
			c.Out.Int(int64(from))
			c.Out.Int(int64(from + m.Length - 1))
		}
		if o.withLength {
			c.Out.Int(int64(m.Length))
		}
		if c.Out.Overflowed() {
			return
		}
	}
	c.Out.BulkString("len")
	c.Out.Int(int64(l.Len()))
}
