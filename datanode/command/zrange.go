package command

import "github.com/atolldb/atoll/datanode/datatype"

func zrangeSpecs() []Spec {
	return []Spec{
		{Name: "zrange", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "1.2.0", Summary: "Returns members in a sorted set within a range of indexes.", Run: onData(zrangeCommand)},
		{Name: "zrangebylex", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "2.8.9", Summary: "Returns members in a sorted set within a lexicographical range.", Run: onData(zrangebylexCommand)},
		{Name: "zrangebyscore", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "1.0.5", Summary: "Returns members in a sorted set within a range of scores.", Run: onData(zrangebyscoreCommand)},
		{Name: "zremrangebylex", Arity: 4, Flags: flagsWrite, Keys: oneKey, Since: "2.8.9", Summary: "Removes members in a sorted set within a lexicographical range. Deletes the sorted set if all members were removed.", Run: onData(zremrangebylexCommand)},
		{Name: "zremrangebyrank", Arity: 4, Flags: flagsWrite, Keys: oneKey, Since: "2.0.0", Summary: "Removes members in a sorted set within a range of indexes. Deletes the sorted set if all members were removed.", Run: onData(zremrangebyrankCommand)},
		{Name: "zremrangebyscore", Arity: 4, Flags: flagsWrite, Keys: oneKey, Since: "1.2.0", Summary: "Removes members in a sorted set within a range of scores. Deletes the sorted set if all members were removed.", Run: onData(zremrangebyscoreCommand)},
		{Name: "zrevrange", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "1.2.0", Summary: "Returns members in a sorted set within a range of indexes in reverse order.", Run: onData(zrevrangeCommand)},
		{Name: "zrevrangebylex", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "2.8.9", Summary: "Returns members in a sorted set within a lexicographical range in reverse order.", Run: onData(zrevrangebylexCommand)},
		{Name: "zrevrangebyscore", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "2.2.0", Summary: "Returns members in a sorted set within a range of scores in reverse order.", Run: onData(zrevrangebyscoreCommand)},
	}
}

// rangeKind says what the bounds of a range are.
type rangeKind uint8

const (
	byRank rangeKind = iota
	byScore
	byLex
)

// rangeOptions are the arguments behind the bounds.
type rangeOptions struct {
	kind          rangeKind
	reverse       bool
	withScores    bool
	stores        bool // ZRANGESTORE's
	offset, limit int64
}

func zrangeCommand(c *Ctx, w *work)    { zrange(c, w, rangeOptions{limit: -1}, true) }
func zrevrangeCommand(c *Ctx, w *work) { zrange(c, w, rangeOptions{limit: -1, reverse: true}, false) }
func zrangebyscoreCommand(c *Ctx, w *work) {
	zrange(c, w, rangeOptions{limit: -1, kind: byScore}, false)
}
func zrangebylexCommand(c *Ctx, w *work) { zrange(c, w, rangeOptions{limit: -1, kind: byLex}, false) }
func zrevrangebyscoreCommand(c *Ctx, w *work) {
	zrange(c, w, rangeOptions{limit: -1, kind: byScore, reverse: true}, false)
}
func zrevrangebylexCommand(c *Ctx, w *work) {
	zrange(c, w, rangeOptions{limit: -1, kind: byLex, reverse: true}, false)
}

// parse reads the options from Args[at] on, or answers with the error; free says that the form and the direction of the
// range are among them.
func (o *rangeOptions) parse(c *Ctx, at int, free bool) bool {
	kind, reverse := free, free
	for i := at; i < len(c.Args); i++ {
		switch arg := c.Args[i]; {
		case !o.stores && is(arg, "WITHSCORES"):
			o.withScores = true
		case is(arg, "LIMIT") && i+2 < len(c.Args):
			var ok bool
			if o.offset, ok = c.integer(i + 1); !ok {
				return false
			}
			if o.limit, ok = c.integer(i + 2); !ok {
				return false
			}
			i += 2
		case reverse && is(arg, "REV"):
			o.reverse, reverse = true, false
		case kind && is(arg, "BYLEX"):
			o.kind, kind = byLex, false
		case kind && is(arg, "BYSCORE"):
			o.kind, kind = byScore, false
		default:
			c.fail(errSyntax)
			return false
		}
	}
	switch {
	case o.limit != -1 && o.kind == byRank:
		c.fail("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
	case o.withScores && o.kind == byLex:
		c.fail("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
	default:
		if o.kind == byRank {
			o.offset = 0 // LIMIT n -1 is let through, and does nothing
		}
		return true
	}
	return false
}

// rangeBounds are the two bounds of a range, read but not yet applied to a set.
type rangeBounds struct {
	kind        rangeKind
	start, stop int64
	score       datatype.ScoreRange
	lex         datatype.LexRange
}

// parseBounds reads Args[at] and the next, or answers with the error. A reversed range of scores or members
// has its upper bound first.
func parseBounds(c *Ctx, at int, kind rangeKind, reverse bool) (b rangeBounds, ok bool) {
	b.kind = kind
	if kind == byRank {
		if b.start, ok = c.integer(at); !ok {
			return b, false
		}
		b.stop, ok = c.integer(at + 1)
		return b, ok
	}
	low, high := c.Args[at], c.Args[at+1]
	if reverse {
		low, high = high, low
	}
	var err error
	if kind == byScore {
		b.score, err = datatype.ParseScoreRange(low, high)
	} else {
		b.lex, err = datatype.ParseLexRange(low, high)
	}
	if err != nil {
		c.Fail(err)
		return b, false
	}
	return b, true
}

func (b *rangeBounds) span(z *datatype.ZSet, reverse bool) datatype.Span {
	switch b.kind {
	case byScore:
		return z.ByScore(b.score)
	case byLex:
		return z.ByLex(b.lex)
	}
	return z.ByRank(b.start, b.stop, reverse)
}

func zrange(c *Ctx, w *work, o rangeOptions, free bool) {
	if !o.parse(c, 4, free) {
		return
	}
	b, ok := parseBounds(c, 2, o.kind, o.reverse)
	if !ok {
		return
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	span := b.span(&z, o.reverse)
	if o.kind == byRank && !z.Spread() {
		replyMembers(c, o, z.Count(span), func(fn func([]byte, float64) bool) { z.Walk(span, o.reverse, 0, -1, fn) })
		return
	}
	// How many there are is known only after the walk, which should be done once.
	var scores []float64
	z.Walk(span, o.reverse, o.offset, o.limit, func(member []byte, score float64) bool {
		if o.withScores {
			scores = append(scores, score)
		}
		return c.collect(w, member)
	})
	replyMembers(c, o, int64(w.found.len()), func(fn func([]byte, float64) bool) {
		for i := range w.found.len() {
			var score float64
			if o.withScores {
				score = scores[i]
			}
			if !fn(w.found.at(i), score) {
				return
			}
		}
	})
}

// replyMembers answers with n members, and their scores if asked for: pairs in RESP3, one after the other in
// RESP2.
func replyMembers(c *Ctx, o rangeOptions, n int64, walk func(func([]byte, float64) bool)) {
	nested := o.withScores && c.Out.Proto() >= 3
	if o.withScores && !nested {
		c.Out.Array(int(2 * n))
	} else {
		c.Out.Array(int(n))
	}
	walk(func(member []byte, score float64) bool {
		if nested {
			c.Out.Array(2)
		}
		c.Out.Bulk(member)
		if o.withScores {
			c.Out.Double(score)
		}
		return !c.Out.Overflowed()
	})
}

func zremrangebyrankCommand(c *Ctx, w *work)  { zremrange(c, w, byRank) }
func zremrangebyscoreCommand(c *Ctx, w *work) { zremrange(c, w, byScore) }
func zremrangebylexCommand(c *Ctx, w *work)   { zremrange(c, w, byLex) }

func zremrange(c *Ctx, w *work, kind rangeKind) {
	b, ok := parseBounds(c, 2, kind, false)
	if !ok {
		return
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	n := z.DeleteSpan(b.span(&z, false), false, -1)
	z.Save()
	c.Out.Int(n)
}
