package command

import (
	"bytes"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func scanSpecs() []Spec {
	return []Spec{
		{Name: "hscan", Arity: -3, Flags: flagsRead, Keys: oneKey, Since: "2.8.0", Summary: "Iterates over fields and values of a hash.", Run: onData(hscanCommand)},
		{Name: "keys", Arity: 2, Flags: flagsRead, Since: "1.0.0", Summary: "Returns all key names that match a pattern.", Run: onData(keysCommand)},
		{Name: "randomkey", Arity: 1, Flags: flagsRead, Since: "1.0.0", Summary: "Returns a random key name from the database.", Run: onData(randomkeyCommand)},
		{Name: "scan", Arity: -2, Flags: flagsRead, Since: "2.8.0", Summary: "Iterates over the key names in the database.", Run: onData(scanCommand)},
		{Name: "sscan", Arity: -3, Flags: flagsRead, Keys: oneKey, Since: "2.8.0", Summary: "Iterates over members of a set.", Run: onData(sscanCommand)},
		{Name: "zscan", Arity: -3, Flags: flagsRead, Keys: oneKey, Since: "2.8.0", Summary: "Iterates over members and scores of a sorted set.", Run: onData(zscanCommand)},
	}
}

// matcher is a pattern that was looked at once.
type matcher struct {
	pattern []byte
	prefix  []byte // every match starts with it
	whole   bool   // everything with the prefix matches
}

func newMatcher(pattern []byte) matcher {
	prefix, only := datatype.GlobPrefix(pattern)
	return matcher{pattern, prefix, only}
}

func (m *matcher) match(s []byte) bool {
	if m.whole {
		return bytes.HasPrefix(s, m.prefix)
	}
	return datatype.Glob(m.pattern, s)
}

func keysCommand(c *Ctx, w *work) {
	m := newMatcher(c.Args[1])
	for key := range w.Tx.Keys(w.DB, store.KeyBounds{Prefix: m.prefix}) {
		if m.match(key) && !c.collect(w, key) {
			break
		}
	}
	c.Out.Array(w.found.len())
	for i := range w.found.len() {
		c.Out.Bulk(w.found.at(i))
	}
}

func randomkeyCommand(c *Ctx, w *work) {
	if key, ok := w.RandomKey(c.Env.Families.random); ok {
		c.Out.Bulk(key)
	} else {
		c.Out.Null()
	}
}

// scanDefault is how many elements a scan looks at without COUNT.
const scanDefault = 10

// scanOptions are the arguments behind the cursor.
type scanOptions struct {
	matcher
	count   int64
	ofType  string
	hasType bool
}

// parseScanOptions reads Args[at] and what follows, or answers with the error.
func parseScanOptions(c *Ctx, at int, keys bool) (o scanOptions, ok bool) {
	o = scanOptions{count: scanDefault, matcher: matcher{whole: true}}
	for ; at < len(c.Args); at += 2 {
		arg := c.Args[at]
		switch {
		case at+1 == len(c.Args):
			c.fail(errSyntax)
			return o, false
		case is(arg, "COUNT"):
			if o.count, ok = c.integer(at + 1); !ok {
				return o, false
			}
			if o.count < 1 {
				c.fail(errSyntax)
				return o, false
			}
		case is(arg, "MATCH"):
			o.matcher = newMatcher(c.Args[at+1])
		case keys && is(arg, "TYPE"):
			o.ofType, o.hasType = string(bytes.ToLower(c.Args[at+1])), true
		default:
			c.fail(errSyntax)
			return o, false
		}
	}
	return o, true
}

// parseCursor reads the number of a cursor as strtoul does, but that it refuses negative ones.
func parseCursor(b []byte) (number int64, ok bool) {
	digits := b
	if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
		if digits = b[1:]; len(digits) == 0 {
			return 0, false
		}
	}
	digits = bytes.TrimLeft(digits, "0")
	if len(digits) == 0 {
		return 0, true
	}
	number, ok = datatype.ParseInt(digits)
	return number, ok && number > 0 && b[0] != '-'
}

// cursor reads the number of the cursor in Args[at], or answers with the error.
func (c *Ctx) cursor(at int) (number int64, ok bool) {
	number, ok = parseCursor(c.Args[at])
	if !ok {
		c.fail(errCursor)
	}
	return number, ok
}

// resume returns where the scan of a cursor goes on, nil for its start, or answers with the error.
func (c *Ctx) resume(number int64, kind scanKind, key []byte) (last []byte, ok bool) {
	if number == 0 {
		return nil, true
	}
	p, ok := c.cursors().find(uint64(number), kind, c.Session.DB, store.HashKey(c.Session.DB, key))
	if !ok {
		c.fail(errCursor)
	}
	return p.last, ok
}

func (c *Ctx) cursors() *cursorTable {
	return c.Env.Families.cursors.of(c.Session.Grant().NamespaceID)
}

// nextCursor makes the cursor of a scan that goes on behind last; nil is the end of the scan.
func (c *Ctx) nextCursor(kind scanKind, key, last []byte) int64 {
	if last == nil {
		return 0
	}
	return int64(c.cursors().add(position{kind: kind, db: c.Session.DB, key: store.HashKey(c.Session.DB, key), last: last}))
}

// replyScan answers with the cursor and what was found.
func replyScan(c *Ctx, w *work, cursor int64) {
	c.Out.Array(2)
	c.Out.BulkInt(cursor)
	c.Out.Array(w.found.len())
	for i := range w.found.len() {
		c.Out.Bulk(w.found.at(i))
	}
}

// behind is the smallest name after last, or the start.
func behind(last []byte) []byte {
	if last == nil {
		return nil
	}
	return append(last[:len(last):len(last)], 0)
}

// scanCommand looks at COUNT keys in the order of their bytes, from behind the last one that was looked at:
// whatever comes and goes meanwhile, a key that is there all the time is passed exactly once.
func scanCommand(c *Ctx, w *work) {
	number, ok := c.cursor(1)
	if !ok {
		return
	}
	o, ok := parseScanOptions(c, 2, true)
	if !ok {
		return
	}
	last, ok := c.resume(number, scanKeys, nil)
	if !ok {
		return
	}
	last = o.scan(c, w, func(visit func(name, value []byte, row store.Row) bool) {
		for key, row := range w.Tx.Keys(w.DB, store.KeyBounds{From: behind(last), Prefix: o.prefix}) {
			if !visit(key, nil, row) {
				return
			}
		}
	}, false)
	replyScan(c, w, c.nextCursor(scanKeys, nil, last))
}

// scan collects up to count elements of a walk, or to the next one that a cursor can remember, and returns
// the name of the last one that was looked at, nil when the walk came to its end.
func (o *scanOptions) scan(c *Ctx, w *work, walk func(visit func(name, value []byte, row store.Row) bool), pairs bool) (last []byte) {
	var seen int64
	walk(func(name, value []byte, row store.Row) bool {
		match := o.match(name)
		if match && o.hasType { // which Redis looks up
			c.looks.Hits++
			match = datatype.TypeName(row.Type) == o.ofType
		}
		if match {
			if !c.collect(w, name) || pairs && !c.collect(w, value) {
				return false
			}
		}
		if seen++; seen < o.count || len(name) > cursorNameMax {
			return true
		}
		last = append([]byte{}, name...)
		return false
	})
	return last
}

// A packed collection is answered whole, at once. A spread one is walked in the order of its members' bytes.

func hscanCommand(c *Ctx, w *work) {
	number, ok := c.cursor(2)
	if !ok {
		return
	}
	h, ok := openHash(c, w)
	if !ok {
		return
	}
	scanCollection(c, w, scanned{scanHash, number, h.Len() == 0, h.Spread(), true}, func(from []byte, fn func(name, value []byte) bool) {
		if h.Spread() {
			h.EachFrom(from, fn)
		} else {
			h.Each(fn)
		}
	})
}

func zscanCommand(c *Ctx, w *work) {
	number, ok := c.cursor(2)
	if !ok {
		return
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	var text [32]byte
	scanCollection(c, w, scanned{scanZSet, number, z.Len() == 0, z.Spread(), true}, func(from []byte, fn func(name, value []byte) bool) {
		each := func(member []byte, score float64) bool { return fn(member, AppendDouble(text[:0], score)) }
		if z.Spread() {
			z.EachMember(from, each)
		} else {
			z.Walk(z.All(), false, 0, -1, each)
		}
	})
}

func sscanCommand(c *Ctx, w *work) {
	number, ok := c.cursor(2)
	if !ok {
		return
	}
	s, ok := openSet(c, w)
	if !ok {
		return
	}
	scanCollection(c, w, scanned{scanSet, number, s.Len() == 0, s.Spread(), false}, func(from []byte, fn func(name, value []byte) bool) {
		each := func(member []byte) bool { return fn(member, nil) }
		if s.Spread() {
			s.EachFrom(from, each)
		} else {
			s.Each(each)
		}
	})
}

// scanned is a collection under a scan.
type scanned struct {
	kind          scanKind
	cursor        int64
	empty, spread bool
	pairs         bool // its elements have a name and a value
}

func scanCollection(c *Ctx, w *work, s scanned, each func(from []byte, fn func(name, value []byte) bool)) {
	if s.empty { // as in Redis, before the options are looked at, and wherever the cursor is
		replyScan(c, w, 0)
		return
	}
	last, ok := c.resume(s.cursor, s.kind, c.Args[1])
	if !ok {
		return
	}
	o, ok := parseScanOptions(c, 3, false)
	if !ok {
		return
	}
	if !s.spread {
		o.count = 1<<63 - 1
	}
	last = o.scan(c, w, func(visit func(name, value []byte, row store.Row) bool) {
		each(behind(last), func(name, value []byte) bool { return visit(name, value, store.Row{}) })
	}, s.pairs)
	replyScan(c, w, c.nextCursor(s.kind, c.Args[1], last))
}
