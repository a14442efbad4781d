package command

import (
	"bytes"
	"cmp"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func sortSpecs() []Spec {
	return []Spec{
		{Name: "sort", Arity: -2, Flags: flagsGrow, Keys: counted(KeySpec{First: 1, Last: 1, Step: 1, Find: sortKeys}), Since: "1.0.0", Summary: "Sorts the elements in a list, a set, or a sorted set, optionally storing the result.", Run: onData(sortCommand), More: sortFlags, Unsent: sortUnsent},
		{Name: "sort_ro", Arity: -2, Flags: flagsRead, Keys: KeySpec{First: 1, Last: 1, Step: 1, Find: sortKeys}, Since: "7.0.0", Summary: "Returns the sorted elements of a list, a set, or a sorted set.", Run: onData(sortCommand), More: sortFlags},
	}
}

// sortPattern names a value for each element: the element itself, or a key, or a hash's field, with the element in its name.
type sortPattern struct {
	element               bool // "#"
	reads                 bool // it has a "*"; without one there is no value
	before, behind, field []byte
}

// parsePattern reads a pattern as Redis does, which looks for the marks up to a zero byte.
func parsePattern(p []byte) sortPattern {
	text := p
	if before, _, ok := bytes.Cut(p, []byte{0}); ok {
		text = before
	}
	star := bytes.IndexByte(text, '*')
	switch {
	case string(text) == "#":
		return sortPattern{element: true}
	case star < 0:
		return sortPattern{}
	}
	s := sortPattern{reads: true, before: p[:star], behind: p[star+1:]}
	if arrow := bytes.Index(text[star+1:], []byte("->")); arrow >= 0 && star+1+arrow+2 < len(text) {
		s.behind, s.field = p[star+1:star+1+arrow], p[star+1+arrow+2:]
	}
	return s
}

// value returns what the pattern names for an element, good until the end of the run.
func (p *sortPattern) value(space datatype.Space, buf *[]byte, element []byte) ([]byte, bool) {
	switch {
	case p.element:
		return element, true
	case !p.reads:
		return nil, false
	}
	*buf = append(append(append((*buf)[:0], p.before...), element...), p.behind...)
	if p.field == nil {
		value, ok, err := space.String(*buf)
		return value, ok && err == nil
	}
	h, err := space.Hash(*buf)
	if err != nil {
		return nil, false
	}
	return h.Get(p.field)
}

// sortCall is a call of SORT.
type sortCall struct {
	descending, alpha bool
	unsorted          bool // BY a pattern without "*"
	by                *sortPattern
	gets              []sortPattern
	offset, limit     int64 // as they are given; a negative limit is none
	target            int   // the argument, 0 if nothing is stored
}

// parseSort reads a call's options; code is the error, or empty.
func parseSort(args [][]byte, readOnly bool) (s sortCall, code Error) {
	s.limit = -1
	for i := 2; i < len(args); i++ {
		left := len(args) - i - 1
		switch arg := args[i]; {
		case is(arg, "ASC"):
			s.descending = false
		case is(arg, "DESC"):
			s.descending = true
		case is(arg, "ALPHA"):
			s.alpha = true
		case is(arg, "LIMIT") && left >= 2:
			var okOffset, okLimit bool
			s.offset, okOffset = datatype.ParseInt(args[i+1])
			if s.limit, okLimit = datatype.ParseInt(args[i+2]); !okOffset || !okLimit {
				return s, errNotInteger
			}
			i += 2
		case is(arg, "STORE") && left >= 1 && !readOnly:
			i++
			s.target = i
		case is(arg, "BY") && left >= 1:
			i++
			by := parsePattern(args[i])
			s.by = &by
			s.unsorted = s.unsorted || !by.reads // also if another pattern follows, as in Redis
		case is(arg, "GET") && left >= 1:
			i++
			s.gets = append(s.gets, parsePattern(args[i]))
		default:
			return s, errSyntax
		}
	}
	return s, ""
}

// reads reports whether the call reads keys that it doesn't name.
func (s *sortCall) reads() bool {
	yes := s.by != nil && s.by.reads && !s.unsorted
	for i := range s.gets {
		yes = yes || s.gets[i].reads
	}
	return yes
}

// sortFlags has a call that reads keys that it doesn't name take the namespace for itself.
func sortFlags(args [][]byte) Flags {
	if s, code := parseSort(args, false); code == "" && s.reads() {
		return FlagExclusive
	}
	return 0
}

func sortKeys(args [][]byte, dst []int) []int {
	dst = append(dst, 1)
	if s, code := parseSort(args, false); code == "" && s.target > 0 {
		dst = append(dst, s.target)
	}
	return dst
}

// sortUnsent is what all elements take, or all values that are named by them. Each may get a row.
func sortUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	const row = 16
	s, code := parseSort(args, false)
	if code != "" || s.target == 0 {
		return 0, 0
	}
	space := datatype.Space{Tx: tx, DB: tx.DB(db), Limits: datatype.DefaultLimits, Buf: new(datatype.Buffers)}
	o := sorter{sortCall: s, space: space}
	if o.open(args[1]) != nil {
		return 0, 0
	}
	bytes = heldBy(tx, db, args[1]) + row*o.size
	if len(s.gets) > 0 {
		bytes = 0
		o.each(false, 0, o.size, func(element []byte) bool {
			o.values(element, func(value []byte, _ bool) { bytes += int64(len(value)) + row })
			return bytes < store.MaxRunBytes
		})
	}
	return absent(tx, db, args[s.target]), bytes
}

// sorter is a call at work.
type sorter struct {
	sortCall
	space datatype.Space
	list  datatype.List
	set   datatype.Set
	zset  datatype.ZSet
	kind  store.Type
	size  int64 // elements
	key   []byte

	items best[sortItem]
	bytes int // of their elements
	seen  int
}

// sortItem is an element with what it is sorted by.
type sortItem struct {
	element []byte
	score   float64
	weight  []byte // ALPHA with BY
	weighs  bool   // there is one
	number  int
}

// open opens what is to be sorted; what isn't there is an empty list.
func (o *sorter) open(key []byte) (err error) {
	row, _ := o.space.Tx.Get(o.space.DB, key)
	switch o.kind = row.Type; o.kind {
	case store.TypeSet:
		o.set, err = o.space.Set(key)
		o.size = o.set.Len()
	case store.TypeZSet:
		o.zset, err = o.space.ZSet(key)
		o.size = o.zset.Len()
	default:
		if o.list, err = o.space.List(key); err == nil {
			o.size = o.list.Len()
		}
	}
	return err
}

// each calls fn for n elements from a place on, in the order that they have, until it returns false.
func (o *sorter) each(descending bool, from, n int64, fn func(element []byte) bool) {
	switch o.kind {
	case store.TypeZSet:
		o.zset.Walk(o.zset.All(), descending, from, n, func(member []byte, _ float64) bool { return fn(member) })
	case store.TypeSet:
		if n == 0 {
			return
		}
		o.set.Each(func(member []byte) bool {
			if from--; from >= 0 {
				return true
			}
			n--
			return fn(member) && n > 0
		})
	default:
		if descending {
			from = o.size - from - n
		}
		o.list.Each(from, n, descending, func(_ int64, value []byte) bool { return fn(value) })
	}
}

// values calls fn for what an element stands for in the result.
func (o *sorter) values(element []byte, fn func(value []byte, ok bool)) {
	if len(o.gets) == 0 {
		fn(element, true)
	}
	for i := range o.gets {
		fn(o.gets[i].value(o.space, &o.key, element))
	}
}

func sortCommand(c *Ctx, w *work) {
	s, code := parseSort(c.Args, c.Spec.Flags&FlagReadOnly != 0)
	if code != "" {
		c.fail(code)
		return
	}
	o := &sorter{sortCall: s, space: w.reading(c)}
	if err := o.open(c.Args[1]); err != nil {
		c.Fail(err)
		return
	}
	if o.unsorted && o.kind == store.TypeSet && o.target > 0 { // what is stored doesn't depend on how a set lies
		o.unsorted, o.alpha, o.by = false, true, nil
	}
	start := min(max(o.offset, 0), o.size)
	n := o.size - start
	if o.limit >= 0 {
		n = min(n, o.limit)
	}
	walk := func(fn func(element []byte) bool) { o.each(o.descending, start, n, fn) }
	if !o.unsorted {
		if !o.sort(c, start+n, n) {
			return
		}
		walk = func(fn func(element []byte) bool) {
			for i := start; i < start+n && fn(o.items.list[i].element); i++ {
			}
		}
	}
	if o.target > 0 {
		o.store(c, w, walk)
		return
	}
	shown, from := n*int64(max(1, len(o.gets))), c.Out.Len()
	if !c.Out.fitsBulks(shown) {
		return
	}
	c.Out.Array(int(shown))
	walk(func(element []byte) bool {
		o.values(element, func(value []byte, ok bool) {
			if ok {
				c.Out.Bulk(value)
			} else {
				c.Out.Null()
			}
		})
		return !c.Out.Overflowed() && o.fits()
	})
	if !o.fits() {
		c.Out.truncate(from)
		c.Fail(store.ErrTooLarge)
	}
}

// fits reports whether what the run holds is within what one may.
func (o *sorter) fits() bool {
	o.space.Tx.Hold(o.bytes)
	return o.bytes <= store.MaxRunBytes && o.space.Tx.Size() <= store.MaxRunBytes
}

// sort puts the first elements in order, or answers with the error; all are looked at. shown is how many of them the result has.
func (o *sorter) sort(c *Ctx, first, shown int64) bool {
	o.items.compare = o.compare
	if first < o.size {
		o.items.n = first
	}
	whole := o.target == 0 && len(o.gets) == 0 && first == o.size && shown == first // what is held is the reply
	numbers, more := true, true
	o.each(false, 0, o.size, func(element []byte) bool {
		item, ok := o.weigh(element)
		if numbers = numbers && ok; shown > 0 && o.items.wants(item) {
			if o.items.full() {
				o.bytes -= len(o.items.list[0].element)
			}
			item.element = append([]byte(nil), element...)
			o.bytes += len(element)
			o.items.add(item)
		}
		o.seen++
		more = o.fits() && (!whole || c.Out.fits(o.bytes+bulkFrame*o.items.Len()))
		return more
	})
	switch {
	case !more && !c.Out.Overflowed():
		c.Fail(store.ErrTooLarge)
	case !more:
	case !numbers:
		c.fail("ERR One or more scores can't be converted into double")
	default:
		o.items.sort()
		return true
	}
	return false
}

// weigh looks up what an element is sorted by; ok is false if that is no number where it has to be.
func (o *sorter) weigh(element []byte) (item sortItem, ok bool) {
	item.element, item.number = element, o.seen
	weight := element
	if o.by != nil {
		if weight, ok = o.by.value(o.space, &o.key, element); !ok {
			return item, true
		}
	}
	if !o.alpha {
		item.score, ok = datatype.ParseLoose(weight)
		return item, ok
	}
	if o.by != nil {
		item.weight, item.weighs = weight, true
	}
	return item, true
}

// compare is the order of the result. What is the same to Redis stays as it was.
func (o *sorter) compare(a, b sortItem) int {
	var order int
	switch {
	case !o.alpha:
		order = cmp.Or(cmp.Compare(a.score, b.score), bytes.Compare(a.element, b.element))
	case o.by == nil:
		order = bytes.Compare(a.element, b.element)
	default:
		order = cmp.Or(cmp.Compare(bit(a.weighs), bit(b.weighs)), bytes.Compare(a.weight, b.weight))
	}
	if o.descending {
		order = -order
	}
	return cmp.Or(order, cmp.Compare(a.number, b.number))
}

// store makes a list of the result, which may replace what was sorted.
func (o *sorter) store(c *Ctx, w *work, walk func(func(element []byte) bool)) {
	walk(func(element []byte) bool {
		more := true
		o.values(element, func(value []byte, _ bool) { more = more && w.gather(value) })
		return more && o.fits()
	})
	if c.failGathered(w) {
		return
	}
	if !o.fits() {
		c.Fail(store.ErrTooLarge)
		return
	}
	key := c.Args[o.target]
	w.Tx.Delete(w.DB, key)
	list, err := w.List(key)
	if err != nil {
		c.Fail(err)
		return
	}
	for i := range w.found.len() {
		list.Push(false, w.found.at(i))
	}
	list.Save()
	c.Out.Int(list.Len())
}
