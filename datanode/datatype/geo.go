package datatype

import (
	"math"
)

// Geographic positions are scores of a sorted set, as in Redis (geohash.c, after ardb): 26 bits each of latitude and longitude,
// as fractions of their ranges, interleaved, the longitude's first. A search looks at the ranges of scores of nine neighbouring
// cells of the grid that is just coarse enough, and at each member in them.
const (
	geoSteps     = 26 // bits of each coordinate
	geoLonMax    = 180.0
	geoLatMax    = 85.05112878
	geoLatMaxStd = 90.0                   // of the geohashes that others read
	earthRadius  = 6372797.560856         // meters
	mercatorMax  = 20037726.37            // meters
	degree       = float64(math.Pi) / 180 // in radians
	geoEven      = 0x5555555555555555     // the bits of latitudes
)

// GeoPoint is a position in degrees.
type GeoPoint struct{ Lon, Lat float64 }

// Valid reports whether a position can be stored.
func (p GeoPoint) Valid() bool {
	return p.Lon >= -geoLonMax && p.Lon <= geoLonMax && p.Lat >= -geoLatMax && p.Lat <= geoLatMax
}

// Score is what is stored for a valid position.
func (p GeoPoint) Score() float64 { return float64(p.cell(geoLatMax, geoSteps).bits) }

// GeoPosition returns the middle of what a score stands for.
func GeoPosition(score float64) GeoPoint {
	low, high := geoCell{geoBits(score), geoSteps}.corners()
	return GeoPoint{
		Lon: min(max((low.Lon+high.Lon)/2, -geoLonMax), geoLonMax),
		Lat: min(max((low.Lat+high.Lat)/2, -geoLatMax), geoLatMax),
	}
}

// geoBits is C's conversion of a double on the machines that Redis runs on, for scores that were never positions too.
func geoBits(score float64) uint64 {
	switch {
	case score >= 1<<64:
		return 0
	case score >= 1<<63:
		return uint64(int64(score-1<<63)) | 1<<63
	case score > -1<<63:
		return uint64(int64(score))
	}
	return 1 << 63
}

// Geohash is the position as the eleven letters that other systems know; they stand for 50 bits, and the last is always 0.
func (p GeoPoint) Geohash() [11]byte {
	const alphabet = "0123456789bcdefghjkmnpqrstuvwxyz"
	bits := p.cell(geoLatMaxStd, geoSteps).bits
	var text [11]byte
	for i := range 10 {
		text[i] = alphabet[bits>>(52-5*(i+1))&0x1f]
	}
	text[10] = alphabet[0]
	return text
}

// geoCell is a field of the grid that has 2^steps rows and columns.
type geoCell struct {
	bits  uint64
	steps uint
}

func (p GeoPoint) cell(latMax float64, steps uint) geoCell {
	lat := (p.Lat + latMax) / (latMax + latMax) * float64(uint64(1)<<steps)
	lon := (p.Lon + geoLonMax) / (geoLonMax + geoLonMax) * float64(uint64(1)<<steps)
	return geoCell{spreadBits(uint32(lat)) | spreadBits(uint32(lon))<<1, steps}
}

// corners returns the cell's south-western corner, and the opposite one.
func (c geoCell) corners() (low, high GeoPoint) {
	lat, lon := gatherBits(c.bits), gatherBits(c.bits>>1)
	side := float64(uint64(1) << c.steps)
	at := func(n uint32, of float64) float64 { return -of + float64(float64(n)/side*(of+of)) }
	return GeoPoint{at(lon, geoLonMax), at(lat, geoLatMax)}, GeoPoint{at(lon+1, geoLonMax), at(lat+1, geoLatMax)}
}

// move returns the cell so many columns east and rows north, around the world's edges.
func (c geoCell) move(east, north int) geoCell {
	lat, lon := gatherBits(c.bits), gatherBits(c.bits>>1)
	wrap := func(n uint32, by int) uint32 {
		if by == 0 {
			return n // which at the very edge is one column or row too far
		}
		return (n + uint32(by)) & (1<<c.steps - 1)
	}
	return geoCell{spreadBits(wrap(lat, north)) | spreadBits(wrap(lon, east))<<1, c.steps}
}

// scores are those of the positions in the cell.
func (c geoCell) scores() ScoreRange {
	shift := 2 * (geoSteps - c.steps)
	return ScoreRange{Min: float64(c.bits << shift), Max: float64((c.bits + 1) << shift), MaxOpen: true}
}

// spreadBits puts zeros between the bits.
func spreadBits(v uint32) uint64 {
	x := uint64(v)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	x = (x | x<<2) & 0x3333333333333333
	return (x | x<<1) & geoEven
}

// gatherBits takes every second bit.
func gatherBits(x uint64) uint32 {
	x &= geoEven
	x = (x | x>>1) & 0x3333333333333333
	x = (x | x>>2) & 0x0f0f0f0f0f0f0f0f
	x = (x | x>>4) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	return uint32(x | x>>16)
}

// GeoDistance is the length of the great circle between two positions in meters, by the haversine formula on a sphere.
func GeoDistance(a, b GeoPoint) float64 { return haversine(a, b, exactSin, exactCos, exactAsin) }

func haversine(a, b GeoPoint, sin, cos, asin func(float64) float64) float64 {
	latA, lonA, latB, lonB := float64(a.Lat*degree), float64(a.Lon*degree), float64(b.Lat*degree), float64(b.Lon*degree)
	u, v := sin((latB-latA)/2), sin((lonB-lonA)/2)
	return 2 * earthRadius * asin(math.Sqrt(float64(u*u)+float64(cos(latA)*cos(latB)*v*v)))
}

// farther reports whether two positions are more than so many meters apart. Most often the quick functions can tell.
func farther(a, b GeoPoint, meters float64) bool {
	d := haversine(a, b, math.Sin, math.Cos, math.Asin)
	if doubt := 1e-3 + 1e-9*meters; d > meters+doubt {
		return true
	} else if d < meters-doubt {
		return false
	}
	return GeoDistance(a, b) > meters
}

// GeoArea is what a search looks at: a circle, or a box that follows the lines of latitude.
type GeoArea struct {
	Center        GeoPoint
	Box           bool
	Radius        float64 // of a circle, in units
	Width, Height float64 // of a box, in units
	Unit          float64 // in meters
}

// Distance returns how far a position is from the center, in meters, if it lies within.
func (g *GeoArea) Distance(p GeoPoint) (meters float64, ok bool) {
	if g.Box {
		// The width is measured at the position's own latitude.
		if farther(p, GeoPoint{g.Center.Lon, p.Lat}, float64(g.Width*g.Unit)/2) || farther(p, GeoPoint{p.Lon, g.Center.Lat}, float64(g.Height*g.Unit)/2) {
			return 0, false
		}
	} else if farther(g.Center, p, float64(g.Radius*g.Unit)) {
		return 0, false
	}
	return GeoDistance(g.Center, p), true
}

// Ranges returns the ranges of scores to look at, in Redis' order, which is that of results that aren't sorted.
func (g *GeoArea) Ranges() []ScoreRange {
	low, high := g.bounds()
	radius := g.Radius
	if g.Box {
		radius = math.Sqrt(float64(g.Width/2*(g.Width/2)) + float64(g.Height/2*(g.Height/2)))
	}
	steps := geoEstimate(float64(radius*g.Unit), g.Center.Lat)
	center := g.Center.cell(geoLatMax, steps)
	_, north := center.move(0, 1).corners()
	south, _ := center.move(0, -1).corners()
	_, east := center.move(1, 0).corners()
	west, _ := center.move(-1, 0).corners()
	if steps > 1 && (north.Lat < high.Lat || south.Lat > low.Lat || east.Lon < high.Lon || west.Lon > low.Lon) {
		steps--
		center = g.Center.cell(geoLatMax, steps)
	}
	own, opposite := center.corners()
	ranges, last := []ScoreRange{center.scores()}, center
	for _, n := range [...]struct{ east, north int }{{0, 1}, {0, -1}, {1, 0}, {-1, 0}, {1, 1}, {-1, 1}, {1, -1}, {-1, -1}} {
		useless := n.north < 0 && own.Lat < low.Lat || n.north > 0 && opposite.Lat > high.Lat || n.east < 0 && own.Lon < low.Lon || n.east > 0 && opposite.Lon > high.Lon
		if steps >= 2 && useless {
			continue
		}
		if c := center.move(n.east, n.north); len(ranges) == 1 || c != last { // in a grid of four, east is west
			ranges, last = append(ranges, c.scores()), c
		}
	}
	return ranges
}

// bounds returns the corners of a box around the area, in degrees; they may lie outside of the world.
func (g *GeoArea) bounds() (low, high GeoPoint) {
	height, width := float64(g.Unit*g.Radius), float64(g.Unit*g.Radius)
	if g.Box {
		height, width = g.Unit*(g.Height/2), g.Unit*(g.Width/2)
	}
	lat := height / earthRadius / degree
	nearer := g.Center.Lat + lat // to the pole, where the degrees of longitude are shortest
	if g.Center.Lat < 0 {
		nearer = g.Center.Lat - lat
	}
	lon := width / earthRadius / math.Cos(nearer*degree) / degree
	return GeoPoint{g.Center.Lon - lon, g.Center.Lat - lat}, GeoPoint{g.Center.Lon + lon, g.Center.Lat + lat}
}

// geoEstimate returns the finest grid of which nine cells most often hold a circle.
func geoEstimate(meters, lat float64) uint {
	if meters == 0 {
		return geoSteps
	}
	steps := -1
	for ; meters < mercatorMax; meters *= 2 {
		steps++
	}
	if math.Abs(lat) > 66 { // cells get narrower towards the poles
		steps--
		if math.Abs(lat) > 80 {
			steps--
		}
	}
	return uint(min(max(steps, 1), geoSteps))
}
