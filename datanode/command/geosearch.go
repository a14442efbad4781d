package command

import (
	"cmp"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

// geoForm is which of the searching commands a call is of.
type geoForm uint8

const (
	geoRadius geoForm = iota // GEORADIUS
	geoRadiusByMember
	geoSearching
	geoSearchStore
)

// geoSearch is a call of one of them.
type geoSearch struct {
	form   geoForm
	source datatype.ZSet
	there  bool // the source
	area   datatype.GeoArea

	from, shape             bool // GEOSEARCH: they are given
	fromMember, byBox       bool // how
	withDist, withHash      bool
	withCoord, any          bool
	ascending, descending   bool
	count                   int64 // 0: all
	target                  []byte
	stores, storesDistances bool

	hits  best[geoHit]
	found int // positions within the area
	bytes int // of members
}

func georadiusCommand(c *Ctx, w *work)         { geosearch(c, w, geoRadius) }
func georadiusbymemberCommand(c *Ctx, w *work) { geosearch(c, w, geoRadiusByMember) }
func geosearchCommand(c *Ctx, w *work)         { geosearch(c, w, geoSearching) }
func geosearchstoreCommand(c *Ctx, w *work)    { geosearch(c, w, geoSearchStore) }

// geoKeys finds the source, and the target of GEORADIUS, which may be named anywhere behind the radius; the last one counts.
func geoKeys(args [][]byte, dst []int) []int {
	dst = append(dst, 1)
	if at := geoTarget(args); at > 0 {
		dst = append(dst, at)
	}
	return dst
}

func geoTarget(args [][]byte) (at int) {
	for i := 5; i < len(args)-1; i++ {
		if is(args[i], "STORE") || is(args[i], "STOREDIST") {
			i++
			at = i
		}
	}
	return at
}

// georadiusUnsent is what the source holds, if that is stored.
func georadiusUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	at := geoTarget(args)
	if at == 0 {
		return 0, 0
	}
	return absent(tx, db, args[at]), heldBy(tx, db, args[1])
}

func geosearch(c *Ctx, w *work, form geoForm) {
	g := &geoSearch{form: form}
	if !g.open(c, w) || !g.parse(c) {
		return
	}
	if g.there {
		g.search(c, w)
	}
	switch {
	case g.bytes > store.MaxRunBytes:
		c.Fail(store.ErrTooLarge)
	case g.stores:
		g.store(c, w)
	default:
		g.reply(c)
	}
}

// open opens the source, and reads what GEORADIUS has in fixed places, or answers with the error. As in Redis, a member's
// position is looked up before anything behind it is read.
func (g *geoSearch) open(c *Ctx, w *work) bool {
	key := c.Args[1]
	if g.form == geoSearchStore {
		key, g.target, g.stores = c.Args[2], c.Args[1], true
	}
	space := w.Space
	if c.Spec.Flags&FlagReadOnly == 0 {
		space = w.reading(c)
	}
	var err error
	if g.source, err = space.ZSet(key); err != nil {
		c.Fail(err)
		return false
	}
	g.there = g.source.Len() > 0
	var ok bool
	switch {
	case g.form == geoRadius:
		g.area.Center, ok = c.position(2)
		return ok && g.circle(c, 4)
	case g.form == geoRadiusByMember && g.there:
		return g.center(c, 2) && g.circle(c, 3)
	}
	return true
}

// center takes a member's position, or answers with the error.
func (g *geoSearch) center(c *Ctx, at int) bool {
	score, ok := g.source.Score(c.Args[at])
	if !ok {
		c.fail("ERR could not decode requested zset member")
	}
	g.area.Center = datatype.GeoPosition(score)
	return ok
}

// circle reads a radius and its unit, or answers with the error.
func (g *geoSearch) circle(c *Ctx, at int) (ok bool) {
	if g.area.Radius, ok = datatype.ParseFloat(c.Args[at]); !ok {
		c.fail("ERR need numeric radius")
		return false
	}
	if g.area.Radius < 0 {
		c.fail("ERR radius cannot be negative")
		return false
	}
	g.area.Box = false
	g.area.Unit, ok = c.unit(at + 1)
	return ok
}

// box reads a width, a height and their unit, or answers with the error.
func (g *geoSearch) box(c *Ctx, at int) (ok bool) {
	if g.area.Width, ok = datatype.ParseFloat(c.Args[at]); !ok {
		c.fail("ERR need numeric width")
		return false
	}
	if g.area.Height, ok = datatype.ParseFloat(c.Args[at+1]); !ok {
		c.fail("ERR need numeric height")
		return false
	}
	if g.area.Width < 0 || g.area.Height < 0 {
		c.fail("ERR height or width cannot be negative")
		return false
	}
	g.area.Box = true
	g.area.Unit, ok = c.unit(at + 2)
	return ok
}

// parse reads the options, or answers with the error.
func (g *geoSearch) parse(c *Ctx) bool {
	at := [...]int{geoRadius: 6, geoRadiusByMember: 5, geoSearching: 2, geoSearchStore: 3}[g.form]
	for at < len(c.Args) {
		n, ok := g.option(c, at)
		if !ok {
			return false
		}
		at += n
	}
	searching := g.form == geoSearching || g.form == geoSearchStore
	switch {
	case g.stores && (g.withDist || g.withHash || g.withCoord):
		what := "STORE option in GEORADIUS"
		if g.form == geoSearchStore {
			what = "GEOSEARCHSTORE"
		}
		c.Out.Error("ERR " + what + " is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
	case searching && !g.from:
		c.Out.Error("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for " + c.Arg(0))
	case searching && !g.shape:
		c.Out.Error("ERR exactly one of BYRADIUS and BYBOX can be specified for " + c.Arg(0))
	case g.any && g.count == 0:
		c.fail("ERR the ANY argument requires COUNT argument")
	default:
		if g.count > 0 && !g.any && !g.descending {
			g.ascending = true
		}
		return true
	}
	return false
}

// option reads the option in Args[at] and returns how many words it takes, or answers with the error.
func (g *geoSearch) option(c *Ctx, at int) (words int, ok bool) {
	arg, left := c.Args[at], len(c.Args)-at-1
	switch {
	case is(arg, "WITHDIST"):
		g.withDist = true
	case is(arg, "WITHHASH"):
		g.withHash = true
	case is(arg, "WITHCOORD"):
		g.withCoord = true
	case is(arg, "ANY"):
		g.any = true
	case is(arg, "ASC"):
		g.ascending, g.descending = true, false
	case is(arg, "DESC"):
		g.ascending, g.descending = false, true
	case is(arg, "COUNT") && left >= 1:
		if g.count, ok = c.integer(at + 1); ok && g.count <= 0 {
			c.fail("ERR COUNT must be > 0")
			ok = false
		}
		return 2, ok
	case g.form == geoSearching || g.form == geoSearchStore:
		return g.searchOption(c, at)
	case c.Spec.Flags&FlagReadOnly == 0 && left >= 1 && (is(arg, "STORE") || is(arg, "STOREDIST")):
		g.target, g.stores, g.storesDistances = c.Args[at+1], true, is(arg, "STOREDIST")
		return 2, true
	default:
		c.fail(errSyntax)
		return 0, false
	}
	return 1, true
}

// searchOption is option for those that GEOSEARCH alone has.
func (g *geoSearch) searchOption(c *Ctx, at int) (words int, ok bool) {
	arg, left := c.Args[at], len(c.Args)-at-1
	switch {
	case is(arg, "STOREDIST") && g.form == geoSearchStore:
		g.storesDistances = true
		return 1, true
	case is(arg, "FROMMEMBER") && left >= 1 && (!g.from || g.fromMember):
		if g.there && !g.center(c, at+1) {
			return 0, false
		}
		g.from, g.fromMember = true, true
		return 2, true
	case is(arg, "FROMLONLAT") && left >= 2 && (!g.from || !g.fromMember):
		g.area.Center, ok = c.position(at + 1)
		g.from = true
		return 3, ok
	case is(arg, "BYRADIUS") && left >= 2 && (!g.shape || !g.byBox):
		g.shape = true
		return 3, g.circle(c, at+1)
	case is(arg, "BYBOX") && left >= 3 && (!g.shape || g.byBox):
		g.shape, g.byBox = true, true
		return 4, g.box(c, at+1)
	}
	c.fail(errSyntax)
	return 0, false
}

// geoHit is a member within the area.
type geoHit struct {
	member          []byte
	distance, score float64
	number          int // in the order in which they were found
}

// nearer is the order of the reply, and farther the other one: what lies equally far stays as it was found.

func nearer(a, b geoHit) int {
	return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.number, b.number))
}

func farther(a, b geoHit) int {
	return cmp.Or(cmp.Compare(b.distance, a.distance), cmp.Compare(a.number, b.number))
}

// search walks the ranges of scores that cover the area. It holds what the reply will show: of a search for some of the nearest
// or farthest no more than so many.
func (g *geoSearch) search(c *Ctx, w *work) {
	g.hits.compare = nearer
	if g.descending {
		g.hits.compare = farther
	}
	if !g.any {
		g.hits.n = g.count
	}
	more := true
	for _, r := range g.area.Ranges() {
		g.source.Walk(g.source.ByScore(r), false, 0, -1, func(member []byte, score float64) bool {
			if distance, ok := g.area.Distance(datatype.GeoPosition(score)); ok {
				more = g.take(c, w, geoHit{member, distance, score, g.found})
				g.found++
			}
			return more
		})
		if !more {
			break
		}
	}
	if g.ascending || g.descending {
		g.hits.sort()
	}
}

// take keeps a hit if it belongs to the result as far as it is known, and reports whether the search goes on.
func (g *geoSearch) take(c *Ctx, w *work, hit geoHit) bool {
	if !g.hits.wants(hit) {
		return true
	}
	var buf []byte
	if g.hits.full() {
		buf = g.hits.list[0].member // which makes way
	}
	g.bytes += len(hit.member) - len(buf)
	hit.member = append(buf[:0], hit.member...)
	g.hits.add(hit)
	w.Tx.Hold(g.bytes)
	switch {
	case g.any && int64(g.hits.Len()) >= g.count:
		return false
	case g.stores || g.hits.n > 0:
		return g.bytes <= store.MaxRunBytes
	}
	return c.Out.fits(g.bytes + bulkFrame*g.hits.Len())
}

func (g *geoSearch) reply(c *Ctx) {
	parts := 1 + int(bit(g.withDist)+bit(g.withHash)+bit(g.withCoord))
	c.Out.Array(g.hits.Len())
	for _, hit := range g.hits.list {
		if parts > 1 {
			c.Out.Array(parts)
		}
		c.Out.Bulk(hit.member)
		if g.withDist {
			c.distance(hit.distance, g.area.Unit)
		}
		if g.withHash {
			c.Out.Int(int64(hit.score))
		}
		if g.withCoord {
			replyPosition(c, hit.score)
		}
		if c.Out.Overflowed() {
			return
		}
	}
}

// store makes a sorted set of the result, which may replace the source.
func (g *geoSearch) store(c *Ctx, w *work) {
	scores := make([]float64, 0, g.hits.Len())
	for _, hit := range g.hits.list {
		w.found.add(hit.member)
		score := hit.score
		if g.storesDistances {
			score = hit.distance / g.area.Unit
		}
		scores = append(scores, score)
	}
	storeScored(c, w, g.target, scores)
}
