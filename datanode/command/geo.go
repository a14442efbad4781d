package command

import (
	"math"
	"strconv"

	"github.com/atolldb/atoll/datanode/datatype"
)

func geoSpecs() []Spec {
	stored := counted(KeySpec{First: 1, Last: 1, Step: 1, Find: geoKeys})
	return []Spec{
		{Name: "geoadd", Arity: -5, Flags: flagsGrow, Keys: oneKey, Since: "3.2.0", Summary: "Adds one or more members to a geospatial index. The key is created if it doesn't exist.", Run: onData(geoaddCommand)},
		{Name: "geodist", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "3.2.0", Summary: "Returns the distance between two members of a geospatial index.", Run: onData(geodistCommand)},
		{Name: "geohash", Arity: -2, Flags: flagsRead, Keys: oneKey, Since: "3.2.0", Summary: "Returns members from a geospatial index as geohash strings.", Run: onData(geohashCommand)},
		{Name: "geopos", Arity: -2, Flags: flagsRead, Keys: oneKey, Since: "3.2.0", Summary: "Returns the longitude and latitude of members from a geospatial index.", Run: onData(geoposCommand)},
		{Name: "georadius", Arity: -6, Flags: flagsGrow, Keys: stored, Since: "3.2.0", Summary: "Queries a geospatial index for members within a distance from a coordinate, optionally stores the result.", Run: onData(georadiusCommand), Unsent: georadiusUnsent},
		{Name: "georadius_ro", Arity: -6, Flags: flagsRead, Keys: oneKey, Since: "3.2.10", Summary: "Returns members from a geospatial index that are within a distance from a coordinate.", Run: onData(georadiusCommand)},
		{Name: "georadiusbymember", Arity: -5, Flags: flagsGrow, Keys: stored, Since: "3.2.0", Summary: "Queries a geospatial index for members within a distance from a member, optionally stores the result.", Run: onData(georadiusbymemberCommand), Unsent: georadiusUnsent},
		{Name: "georadiusbymember_ro", Arity: -5, Flags: flagsRead, Keys: oneKey, Since: "3.2.10", Summary: "Returns members from a geospatial index that are within a distance from a member.", Run: onData(georadiusbymemberCommand)},
		{Name: "geosearch", Arity: -7, Flags: flagsRead, Keys: oneKey, Since: "6.2.0", Summary: "Queries a geospatial index for members inside an area of a box or a circle.", Run: onData(geosearchCommand)},
		{Name: "geosearchstore", Arity: -8, Flags: flagsGrow, Keys: counted(KeySpec{First: 1, Last: 2, Step: 1}), Since: "6.2.0", Summary: "Queries a geospatial index for members inside an area of a box or a circle, stores the result.", Run: onData(geosearchstoreCommand), Unsent: storeFirst},
	}
}

// position reads a longitude, in Args[at], and the latitude behind it, or answers with the error.
func (c *Ctx) position(at int) (p datatype.GeoPoint, ok bool) {
	for i, f := range [...]*float64{&p.Lon, &p.Lat} {
		if *f, ok = datatype.ParseFloat(c.Args[at+i]); !ok {
			c.fail(errNotFloat)
			return p, false
		}
	}
	if !p.Valid() {
		c.Out.Error("ERR invalid longitude,latitude pair " + fixed(p.Lon, 6) + "," + fixed(p.Lat, 6))
	}
	return p, p.Valid()
}

// fixed is a number with so many digits behind the point, as C prints it.
func fixed(f float64, digits int) string {
	switch {
	case math.IsNaN(f):
		return "-nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return strconv.FormatFloat(f, 'f', digits, 64)
}

// distance writes a distance in a unit.
func (c *Ctx) distance(meters, unit float64) { c.Out.BulkString(fixed(meters/unit, 4)) }

// unit reads a unit of length, as meters, or answers with the error.
func (c *Ctx) unit(at int) (meters float64, ok bool) {
	switch arg := c.Args[at]; {
	case is(arg, "m"):
		return 1, true
	case is(arg, "km"):
		return 1000, true
	case is(arg, "ft"):
		return 0.3048, true
	case is(arg, "mi"):
		return 1609.34, true
	}
	c.fail("ERR unsupported unit provided. please use M, KM, FT, MI")
	return 0, false
}

func geoaddCommand(c *Ctx, w *work) {
	var o zaddOptions
	first := 2
words:
	for ; first < len(c.Args); first++ {
		switch arg := c.Args[first]; {
		case is(arg, "NX"):
			o.absent = true
		case is(arg, "XX"):
			o.present = true
		case is(arg, "CH"):
			o.changed = true
		default:
			break words
		}
	}
	n := len(c.Args) - first
	if n == 0 || n%3 != 0 || o.absent && o.present {
		c.fail(errSyntax)
		return
	}
	scores := make([]float64, 0, n/3)
	for i := first; i < len(c.Args); i += 3 {
		p, ok := c.position(i)
		if !ok {
			return
		}
		scores = append(scores, p.Score())
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	var count int64
	for i, score := range scores {
		result, err := o.apply(&z, score, c.Args[first+3*i+2])
		if err != nil {
			c.Fail(err)
			return
		}
		count += bit(result.added || o.changed && result.updated)
	}
	z.Save()
	c.Out.Int(count)
}

func geodistCommand(c *Ctx, w *work) {
	unit := 1.0
	switch len(c.Args) {
	case 4:
	case 5:
		var ok bool
		if unit, ok = c.unit(4); !ok {
			return
		}
	default:
		c.fail(errSyntax)
		return
	}
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	a, okA := z.Score(c.Args[2])
	b, okB := z.Score(c.Args[3])
	if !okA || !okB {
		c.Out.Null()
		return
	}
	c.distance(datatype.GeoDistance(datatype.GeoPosition(a), datatype.GeoPosition(b)), unit)
}

func geohashCommand(c *Ctx, w *work) {
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	c.Out.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		if score, ok := z.Score(member); ok {
			text := datatype.GeoPosition(score).Geohash()
			c.Out.Bulk(text[:])
		} else {
			c.Out.Null()
		}
	}
}

func geoposCommand(c *Ctx, w *work) {
	z, ok := openZSet(c, w)
	if !ok {
		return
	}
	c.Out.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		if score, ok := z.Score(member); ok {
			replyPosition(c, score)
		} else {
			c.Out.NullArray()
		}
	}
}

func replyPosition(c *Ctx, score float64) {
	p := datatype.GeoPosition(score)
	c.Out.Array(2)
	c.Out.Decimal(p.Lon)
	c.Out.Decimal(p.Lat)
}
