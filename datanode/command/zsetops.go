package command

import (
	"cmp"
	"math"
	"slices"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func zsetOperationSpecs() []Spec {
	sources, stored := KeySpec{Find: numberedKeys(1)}, counted(KeySpec{Find: storedKeys})
	return []Spec{
		{Name: "zdiff", Arity: -3, Flags: flagsRead, Keys: sources, Since: "6.2.0", Summary: "Returns the difference between multiple sorted sets.", Run: onData(zdiffCommand)},
		{Name: "zdiffstore", Arity: -4, Flags: flagsGrow, Keys: stored, Since: "6.2.0", Summary: "Stores the difference of multiple sorted sets in a key.", Run: onData(zdiffstoreCommand), Unsent: numberedUnsent},
		{Name: "zinter", Arity: -3, Flags: flagsRead, Keys: sources, Since: "6.2.0", Summary: "Returns the intersect of multiple sorted sets.", Run: onData(zinterCommand)},
		{Name: "zintercard", Arity: -3, Flags: flagsRead, Keys: sources, Since: "7.0.0", Summary: "Returns the number of members of the intersect of multiple sorted sets.", Run: onData(zintercardCommand)},
		{Name: "zinterstore", Arity: -4, Flags: flagsGrow, Keys: stored, Since: "2.0.0", Summary: "Stores the intersect of multiple sorted sets in a key.", Run: onData(zinterstoreCommand), Unsent: numberedUnsent},
		{Name: "zmpop", Arity: -4, Flags: flagsWrite, Keys: sources, Since: "7.0.0", Summary: "Returns the highest- or lowest-scoring members from one or more sorted sets after removing them. Deletes the sorted set if the last member was popped.", Run: onData(zmpopCommand)},
		{Name: "zrangestore", Arity: -5, Flags: flagsGrow, Keys: counted(KeySpec{First: 1, Last: 2, Step: 1}), Since: "6.2.0", Summary: "Stores a range of members from sorted set in a key.", Run: onData(zrangestoreCommand), Unsent: storeFirst},
		{Name: "zunion", Arity: -3, Flags: flagsRead, Keys: sources, Since: "6.2.0", Summary: "Returns the union of multiple sorted sets.", Run: onData(zunionCommand)},
		{Name: "zunionstore", Arity: -4, Flags: flagsGrow, Keys: stored, Since: "2.0.0", Summary: "Stores the union of multiple sorted sets in a key.", Run: onData(zunionstoreCommand), Unsent: numberedUnsent},
	}
}

// storedKeys finds the target, and the sources, whose number follows it.
func storedKeys(args [][]byte, dst []int) []int { return numberedKeys(2)(args, append(dst, 1)) }

// numberedUnsent is what all the sources hold: the result is no larger. A set's members get scores, and where they have
// rows of their own two of those.
func numberedUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	for _, at := range numberedKeys(2)(args, nil) {
		row, _ := tx.Get(tx.DB(db), args[at])
		held := int64(len(row.Data)) + int64(row.Bytes)
		if row.Type == store.TypeSet {
			held = 2*held + 16*max(int64(row.Count), int64(len(row.Data)))
		}
		bytes += held
	}
	return absent(tx, db, args[1]), bytes
}

// source is what a result is made of: a sorted set, or a set, whose members have the score 1.
type source struct {
	zset   datatype.ZSet
	set    datatype.Set
	plain  bool // it is a set
	weight float64
}

func (s *source) len() int64 {
	if s.plain {
		return s.set.Len()
	}
	return s.zset.Len()
}

// score returns a member's score times the weight, which may be no number: as in Redis, that is for the aggregate.
func (s *source) score(member []byte) (float64, bool) {
	if s.plain {
		return s.weight, s.set.Has(member)
	}
	score, ok := s.zset.Score(member)
	return score * s.weight, ok
}

func (s *source) each(fn func(member []byte, score float64) bool) {
	if s.plain {
		s.set.Each(func(member []byte) bool { return fn(member, weighted(1, s.weight)) })
		return
	}
	s.zset.Walk(s.zset.All(), false, 0, -1, func(member []byte, score float64) bool { return fn(member, weighted(score, s.weight)) })
}

// weighted is as in Redis: what is no number is 0.
func weighted(score, weight float64) float64 {
	if product := score * weight; !math.IsNaN(product) {
		return product
	}
	return 0
}

func aggregateSum(a, b float64) float64 {
	if sum := a + b; !math.IsNaN(sum) {
		return sum
	}
	return 0
}

// aggregateMin and aggregateMax pass over a score that is no number.
func aggregateMin(a, b float64) float64 {
	if b < a {
		return b
	}
	return a
}

func aggregateMax(a, b float64) float64 {
	if b > a {
		return b
	}
	return a
}

// zsetOperation is a call of one of the commands that make one sorted set of several.
type zsetOperation struct {
	combine    func(o *zsetOperation, fn func(member []byte) bool)
	weighs     bool // it takes WEIGHTS and AGGREGATE
	counts     bool // it answers how many there are, and takes LIMIT
	sources    []source
	aggregate  func(a, b float64) float64
	withScores bool
	limit      int64
	scores     []float64 // of the members that combine has called fn with
}

func zunionCommand(c *Ctx, w *work) { replyZSets(c, w, &zsetOperation{combine: zunion, weighs: true}) }
func zinterCommand(c *Ctx, w *work) { replyZSets(c, w, &zsetOperation{combine: zinter, weighs: true}) }
func zdiffCommand(c *Ctx, w *work)  { replyZSets(c, w, &zsetOperation{combine: zdiff}) }
func zunionstoreCommand(c *Ctx, w *work) {
	storeZSets(c, w, &zsetOperation{combine: zunion, weighs: true})
}
func zinterstoreCommand(c *Ctx, w *work) {
	storeZSets(c, w, &zsetOperation{combine: zinter, weighs: true})
}
func zdiffstoreCommand(c *Ctx, w *work) { storeZSets(c, w, &zsetOperation{combine: zdiff}) }

// parse opens the sources, whose number is in Args[at], and reads the options, or answers with the error. As in Redis, a
// source of another type is noticed before an option.
func (o *zsetOperation) parse(c *Ctx, w *work, at int, stores bool) bool {
	n, ok := c.integer(at)
	if !ok {
		return false
	}
	switch {
	case n < 1:
		c.Out.Error("ERR at least 1 input key is needed for '" + c.Spec.Name + "' command")
		return false
	case n > int64(len(c.Args)-at-1):
		c.fail(errSyntax)
		return false
	}
	o.sources, o.aggregate = make([]source, n), aggregateSum
	space := w.reading(c)
	for i := range o.sources {
		s := &o.sources[i]
		s.weight = 1
		if row, there := w.Tx.Get(w.DB, c.Args[at+1+i]); there && row.Type == store.TypeSet {
			s.plain = true
			s.set, _ = space.Set(c.Args[at+1+i])
			continue
		}
		var err error
		if s.zset, err = space.ZSet(c.Args[at+1+i]); err != nil {
			c.Fail(err)
			return false
		}
	}
	return o.options(c, at+1+int(n), stores)
}

func (o *zsetOperation) options(c *Ctx, at int, stores bool) bool {
	for at < len(c.Args) {
		arg, left := c.Args[at], len(c.Args)-at-1
		switch {
		case o.weighs && is(arg, "WEIGHTS") && left >= len(o.sources):
			for i := range o.sources {
				weight, ok := datatype.ParseFloat(c.Args[at+1+i])
				if !ok {
					c.fail("ERR weight value is not a float")
					return false
				}
				o.sources[i].weight = weight
			}
			at += len(o.sources)
		case o.weighs && is(arg, "AGGREGATE") && left >= 1 && o.aggregation(c.Args[at+1]):
			at++
		case !stores && !o.counts && is(arg, "WITHSCORES"):
			o.withScores = true
		case o.counts && is(arg, "LIMIT") && left >= 1:
			var ok bool
			if o.limit, ok = datatype.ParseInt(c.Args[at+1]); !ok || o.limit < 0 {
				c.fail(errLimitNegative)
				return false
			}
			at++
		default:
			c.fail(errSyntax)
			return false
		}
		at++
	}
	return true
}

func (o *zsetOperation) aggregation(word []byte) bool {
	switch {
	case is(word, "SUM"):
		o.aggregate = aggregateSum
	case is(word, "MIN"):
		o.aggregate = aggregateMin
	case is(word, "MAX"):
		o.aggregate = aggregateMax
	default:
		return false
	}
	return true
}

// sort puts the smallest source first, which also says in which order scores are added up.
func (o *zsetOperation) sort() {
	slices.SortStableFunc(o.sources, func(a, b source) int { return cmp.Compare(a.len(), b.len()) })
}

func zinter(o *zsetOperation, fn func(member []byte) bool) {
	o.sort()
	o.sources[0].each(func(member []byte, score float64) bool {
		for i := range o.sources[1:] {
			more, ok := o.sources[1+i].score(member)
			if !ok {
				return true
			}
			score = o.aggregate(score, more)
		}
		o.scores = append(o.scores, score)
		return fn(member)
	})
}

// zunion remembers what it has called fn with: as much as the result, which is in memory anyway.
func zunion(o *zsetOperation, fn func(member []byte) bool) {
	o.sort()
	places, more := map[string]int{}, true
	for i := 0; i < len(o.sources) && more; i++ {
		o.sources[i].each(func(member []byte, score float64) bool {
			if at, ok := places[string(member)]; ok {
				o.scores[at] = o.aggregate(o.scores[at], score)
				return true
			}
			places[string(member)] = len(o.scores)
			o.scores = append(o.scores, score)
			more = fn(member)
			return more
		})
	}
}

func zdiff(o *zsetOperation, fn func(member []byte) bool) {
	o.sources[0].each(func(member []byte, score float64) bool {
		for i := range o.sources[1:] {
			if _, ok := o.sources[1+i].score(member); ok {
				return true
			}
		}
		o.scores = append(o.scores, score)
		return fn(member)
	})
}

func replyZSets(c *Ctx, w *work, o *zsetOperation) {
	if !o.parse(c, w, 1, false) {
		return
	}
	o.combine(o, func(member []byte) bool { return c.collect(w, member) })
	order := make([]int, w.found.len())
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(o.scores[a], o.scores[b]), slices.Compare(w.found.at(a), w.found.at(b)))
	})
	replyMembers(c, rangeOptions{withScores: o.withScores}, int64(len(order)), func(fn func([]byte, float64) bool) {
		for _, i := range order {
			if !fn(w.found.at(i), o.scores[i]) {
				return
			}
		}
	})
}

// storeZSets collects the result before it writes, since the target may be a source.
func storeZSets(c *Ctx, w *work, o *zsetOperation) {
	if !o.parse(c, w, 2, true) {
		return
	}
	o.combine(o, w.gather)
	storeScored(c, w, c.Args[1], o.scores)
}

// storeScored makes the sorted set at key of what was found, and answers with its size.
func storeScored(c *Ctx, w *work, key []byte, scores []float64) {
	if c.failGathered(w) {
		return
	}
	w.Tx.Delete(w.DB, key)
	z, err := w.ZSet(key)
	if err != nil {
		c.Fail(err)
		return
	}
	for i := range w.found.len() {
		z.Set(w.found.at(i), scores[i])
	}
	z.Save()
	c.Out.Int(z.Len())
}

func zintercardCommand(c *Ctx, w *work) {
	o := &zsetOperation{combine: zinter, counts: true}
	if !o.parse(c, w, 1, false) {
		return
	}
	found := int64(0)
	o.combine(o, func([]byte) bool {
		found++
		return found != o.limit
	})
	c.Out.Int(found)
}

func zrangestoreCommand(c *Ctx, w *work) {
	o := rangeOptions{limit: -1, stores: true}
	if !o.parse(c, 5, true) {
		return
	}
	b, ok := parseBounds(c, 3, o.kind, o.reverse)
	if !ok {
		return
	}
	z, err := w.reading(c).ZSet(c.Args[2])
	if err != nil {
		c.Fail(err)
		return
	}
	var scores []float64
	z.Walk(b.span(&z, o.reverse), o.reverse, o.offset, o.limit, func(member []byte, score float64) bool {
		scores = append(scores, score)
		return w.gather(member)
	})
	storeScored(c, w, c.Args[1], scores)
}
