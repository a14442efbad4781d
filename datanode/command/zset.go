package command

import (
	"encoding/binary"
	"math"

	"github.com/atolldb/atoll/datanode/datatype"
)

func zsetSpecs() []Spec {
	return []Spec{
		{Name: "zadd", Arity: -4, Flags: flagsGrowFast, Keys: oneKey, Since: "1.2.0", Summary: "Adds one or more members to a sorted set, or updates their scores. Creates the key if it doesn't exist.", Run: onData(zaddCommand)},
		{Name: "zcard", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "1.2.0", Summary: "Returns the number of members in a sorted set.", Run: onData(zcardCommand)},
		{Name: "zcount", Arity: 4, Flags: flagsReadWalk, Keys: oneKey, Since: "2.0.0", Summary: "Returns the count of members in a sorted set that have scores within a range.", Run: onData(zcountCommand)},
		{Name: "zincrby", Arity: 4, Flags: flagsGrowFast, Keys: oneKey, Since: "1.2.0", Summary: "Increments the score of a member in a sorted set.", Run: onData(zincrbyCommand)},
		{Name: "zlexcount", Arity: 4, Flags: flagsReadWalk, Keys: oneKey, Since: "2.8.9", Summary: "Returns the number of members in a sorted set within a lexicographical range.", Run: onData(zlexcountCommand)},
		{Name: "zmscore", Arity: -3, Flags: flagsReadFast, Keys: oneKey, Since: "6.2.0", Summary: "Returns the score of one or more members in a sorted set.", Run: onData(zmscoreCommand)},
		{Name: "zpopmax", Arity: -2, Flags: flagsWriteMany, Keys: oneKey, Since: "5.0.0", Summary: "Returns the highest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.", Run: onData(zpopmaxCommand)},
		{Name: "zpopmin", Arity: -2, Flags: flagsWriteMany, Keys: oneKey, Since: "5.0.0", Summary: "Returns the lowest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.", Run: onData(zpopminCommand)},
		{Name: "zrandmember", Arity: -2, Flags: flagsRead, Keys: oneKey, Since: "6.2.0", Summary: "Returns one or more random members from a sorted set.", Run: onData(zrandmemberCommand)},
		{Name: "zrank", Arity: -3, Flags: flagsReadWalk, Keys: oneKey, Since: "2.0.0", Summary: "Returns the index of a member in a sorted set ordered by ascending scores.", Run: onData(zrankCommand)},
		{Name: "zrem", Arity: -3, Flags: flagsWriteFast, Keys: oneKey, Since: "1.2.0", Summary: "Removes one or more members from a sorted set. Deletes the sorted set if all members were removed.", Run: onData(zremCommand)},
		{Name: "zrevrank", Arity: -3, Flags: flagsReadWalk, Keys: oneKey, Since: "2.0.0", Summary: "Returns the index of a member in a sorted set ordered by descending scores.", Run: onData(zrevrankCommand)},
		{Name: "zscore", Arity: 3, Flags: flagsReadFast, Keys: oneKey, Since: "1.2.0", Summary: "Returns the score of a member in a sorted set.", Run: onData(zscoreCommand)},
	}
}

// openZSet opens the sorted set at the command's key, or answers with the error.
func openZSet(c *Ctx, w *work) (datatype.ZSet, bool) {
	z, err := w.ZSet(c.Args[1])
	if err != nil {
		c.Fail(err)
	}
	return z, err == nil
}

// zaddOptions are ZADD's words before the first score.
type zaddOptions struct {
	absent, present bool // NX, XX
	greater, less   bool // GT, LT
	changed         bool // CH: count changed members too
	increment       bool // INCR
}

// parseZadd reads the options and returns where the first score stands; it answers with an error itself.
func parseZadd(c *Ctx) (o zaddOptions, first int, ok bool) {
	first = 2
words:
	for ; first < len(c.Args); first++ {
		switch arg := c.Args[first]; {
		case is(arg, "NX"):
			o.absent = true
		case is(arg, "XX"):
			o.present = true
		case is(arg, "GT"):
			o.greater = true
		case is(arg, "LT"):
			o.less = true
		case is(arg, "CH"):
			o.changed = true
		case is(arg, "INCR"):
			o.increment = true
		default:
			break words
		}
	}
	n := len(c.Args) - first
	switch {
	case n == 0 || n%2 != 0:
		c.fail(errSyntax)
	case o.absent && o.present:
		c.fail("ERR XX and NX options at the same time are not compatible")
	case o.greater && (o.absent || o.less) || o.less && o.absent:
		c.fail("ERR GT, LT, and/or NX options at the same time are not compatible")
	case o.increment && n > 2:
		c.fail("ERR INCR option supports a single increment-element pair")
	default:
		return o, first, true
	}
	return o, 0, false
}

func zaddCommand(c *Ctx, w *work) {
	if o, first, ok := parseZadd(c); ok {
		zadd(c, w, o, first)
	}
}

func zincrbyCommand(c *Ctx, w *work) { zadd(c, w, zaddOptions{increment: true}, 2) }

func zadd(c *Ctx, w *work, o zaddOptions, first int) {
	for i := first; i < len(c.Args); i += 2 {
		if _, ok := datatype.ParseFloat(c.Args[i]); !ok {
			c.fail(errNotFloat)
			return
		}
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	var count int64
	for i := first; i < len(c.Args); i += 2 {
		score, _ := datatype.ParseFloat(c.Args[i])
		result, err := o.apply(&z, score, c.Args[i+1])
		if err != nil {
			c.Fail(err)
			return
		}
		count += bit(result.added || o.changed && result.updated)
		if o.increment {
			replyScore(c, result.score, !result.refused)
		}
	}
	z.Save()
	if !o.increment {
		c.Out.Int(count)
	}
}

// zaddResult is what became of one member.
type zaddResult struct {
	score                   float64
	added, updated, refused bool
}

// apply sets one member's score under the options' conditions.
func (o *zaddOptions) apply(z *datatype.ZSet, score float64, member []byte) (zaddResult, error) {
	refused := zaddResult{refused: true}
	old, there := z.Score(member)
	if !there {
		if o.present {
			return refused, nil
		}
		z.Set(member, score)
		return zaddResult{score: score, added: true}, nil
	}
	if o.absent {
		return refused, nil
	}
	if o.increment {
		score += old
		if math.IsNaN(score) {
			return refused, datatype.ErrScoreNaN
		}
	}
	if o.less && score >= old || o.greater && score <= old {
		return refused, nil
	}
	if score != old {
		z.Set(member, score)
	}
	return zaddResult{score: score, updated: score != old}, nil
}

func replyScore(c *Ctx, score float64, there bool) {
	if there {
		c.Out.Double(score)
	} else {
		c.Out.Null()
	}
}

func zremCommand(c *Ctx, w *work) {
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	var removed int64
	for _, member := range c.Args[2:] {
		removed += bit(z.Delete(member))
	}
	z.Save()
	c.Out.Int(removed)
}

func zscoreCommand(c *Ctx, w *work) {
	if z, ok := openZSet(c, w); ok {
		score, there := z.Score(c.Args[2])
		replyScore(c, score, there)
	}
}

func zmscoreCommand(c *Ctx, w *work) {
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	c.Out.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		score, there := z.Score(member)
		replyScore(c, score, there)
	}
}

func zcardCommand(c *Ctx, w *work) {
	if z, ok := openZSet(c, w); ok {
		c.Out.Int(z.Len())
	}
}

func zcountCommand(c *Ctx, w *work) {
	r, err := datatype.ParseScoreRange(c.Args[2], c.Args[3])
	if err != nil {
		c.Fail(err)
		return
	}
	if z, ok := openZSet(c, w); ok {
		c.Out.Int(z.Count(z.ByScore(r)))
	}
}

func zlexcountCommand(c *Ctx, w *work) {
	r, err := datatype.ParseLexRange(c.Args[2], c.Args[3])
	if err != nil {
		c.Fail(err)
		return
	}
	if z, ok := openZSet(c, w); ok {
		c.Out.Int(z.Count(z.ByLex(r)))
	}
}

func zrankCommand(c *Ctx, w *work)    { replyRank(c, w, false) }
func zrevrankCommand(c *Ctx, w *work) { replyRank(c, w, true) }

// replyRank answers with a member's rank, and its score if WITHSCORE asks for it.
func replyRank(c *Ctx, w *work, reverse bool) {
	with := len(c.Args) > 3
	switch {
	case len(c.Args) > 4:
		c.failArity()
		return
	case with && !is(c.Args[3], "withscore"):
		c.fail(errSyntax)
		return
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	rank, there := z.Rank(c.Args[2], reverse)
	switch {
	case there && with:
		score, _ := z.Score(c.Args[2])
		c.Out.Array(2)
		c.Out.Int(rank)
		c.Out.Double(score)
	case there:
		c.Out.Int(rank)
	case with:
		c.Out.NullArray()
	default:
		c.Out.Null()
	}
}

func zpopminCommand(c *Ctx, w *work) { zpop(c, w, false) }
func zpopmaxCommand(c *Ctx, w *work) { zpop(c, w, true) }

func zpop(c *Ctx, w *work, reverse bool) {
	count, counted := int64(1), len(c.Args) > 2
	if len(c.Args) > 3 {
		c.fail(errSyntax)
		return
	}
	if counted {
		var ok bool
		if count, ok = datatype.ParseInt(c.Args[2]); !ok || count < 0 {
			c.fail(errNotPositive)
			return
		}
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	if count = min(count, z.Len()); count == 0 {
		c.Out.Array(0)
		return
	}
	span := z.All()
	nested := counted && c.Out.Proto() >= 3
	if nested {
		c.Out.Array(int(count))
	} else {
		c.Out.Array(int(2 * count))
	}
	z.Walk(span, reverse, 0, count, func(member []byte, score float64) bool {
		if nested {
			c.Out.Array(2)
		}
		c.Out.Bulk(member)
		c.Out.Double(score)
		return !c.Out.Overflowed()
	})
	z.DeleteSpan(span, reverse, count)
	z.Save()
}

func zrandmemberCommand(c *Ctx, w *work) {
	o, ok := parseRandom(c, "WITHSCORES")
	if !ok {
		return
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	walk := func(add func(name, value []byte) bool) {
		var bits [8]byte
		z.Walk(z.All(), false, 0, -1, func(member []byte, score float64) bool {
			return add(member, binary.NativeEndian.AppendUint64(bits[:0], math.Float64bits(score)))
		})
	}
	replyRandom(c, w, o, z.Len(), walk, func(value []byte) {
		c.Out.Double(math.Float64frombits(binary.NativeEndian.Uint64(value)))
	})
}
