package datatype

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestExactFunctions holds sin, cos and asin to sums in 200 bits.
func TestExactFunctions(t *testing.T) {
	arguments := []float64{0, 1e-300, 1e-9, math.Pi / 4, math.Pi / 2, math.Nextafter(math.Pi/2, 0), math.Nextafter(math.Pi/2, 2), math.Pi, -math.Pi, -math.Pi / 2, 0.5, 3}
	for range 3000 {
		arguments = append(arguments, (2*rand.Float64()-1)*math.Pi)
	}
	for _, x := range arguments {
		sin, cos := bigSinCos(x)
		if got, want := exactSin(x), rounded(sin); got != want {
			t.Errorf("sin %v is %v, want %v", x, got, want)
		}
		if got, want := exactCos(x), rounded(cos); got != want {
			t.Errorf("cos %v is %v, want %v", x, got, want)
		}
		// asin's nearest number is the one whose neighbourhood's sines enclose y.
		y := math.Abs(math.Sin(x))
		a := exactAsin(y)
		below, _ := bigSinCos(0)
		if a > 0 {
			below, _ = bigSinCosOf(middle(math.Nextafter(a, 0), a))
		}
		above, _ := bigSinCosOf(middle(a, math.Nextafter(a, 4)))
		if b := big.NewFloat(y); b.Cmp(below) < 0 || b.Cmp(above) > 0 && a < math.Pi/2 {
			t.Errorf("asin %v is not %v", y, a)
		}
	}
}

func rounded(b *big.Float) float64 {
	f, _ := b.Float64()
	return f
}

func middle(a, b float64) *big.Float {
	m := new(big.Float).SetPrec(200).SetFloat64(a)
	m.Add(m, big.NewFloat(b))
	return m.Quo(m, big.NewFloat(2))
}

func bigSinCos(x float64) (sin, cos *big.Float) {
	return bigSinCosOf(new(big.Float).SetPrec(200).SetFloat64(x))
}

func bigSinCosOf(x *big.Float) (sin, cos *big.Float) {
	number := func(f float64) *big.Float { return new(big.Float).SetPrec(200).SetFloat64(f) }
	sums, term := [2]*big.Float{number(0), number(0)}, number(1)
	for n := range 60 {
		part := number(0).Set(term)
		if n%4 > 1 {
			part.Neg(part)
		}
		sums[n%2].Add(sums[n%2], part)
		term.Mul(term, x)
		term.Quo(term, number(float64(n+1)))
	}
	return sums[1], sums[0]
}

// TestGeoRanges: whatever an area is, no position within it lies outside of the ranges that are looked at, but for areas so large
// that Redis misses some too: those reach a pole or around the world.
func TestGeoRanges(t *testing.T) {
	inside := 0
	for range 20_000 {
		g := GeoArea{Center: GeoPoint{rand.Float64()*360 - 180, rand.Float64()*140 - 70}, Unit: 1, Radius: math.Exp(rand.Float64() * 14)}
		if g.Box = rand.IntN(2) == 0; g.Box {
			g.Width, g.Height = g.Radius, math.Exp(rand.Float64()*14)
		}
		near := max(g.Radius, g.Height) / 100_000
		p := GeoPoint{g.Center.Lon + (rand.Float64()-0.5)*near, g.Center.Lat + (rand.Float64()-0.5)*near}
		if !p.Valid() {
			continue
		}
		score := p.Score()
		if _, ok := g.Distance(GeoPosition(score)); !ok {
			continue
		}
		inside++
		found := 0
		for _, r := range g.Ranges() {
			if !r.below(score) && !r.above(score) {
				found++
			}
		}
		if found != 1 {
			t.Fatalf("%+v lies in %d of the ranges of %+v", p, found, g)
		}
	}
	if inside < 2000 {
		t.Errorf("only %d positions were within", inside)
	}
}

// FuzzGeo takes any number for a score: it is some position of the world, and a position's score gives it back but for the
// grid's width.
func FuzzGeo(f *testing.F) {
	for _, score := range []float64{0, 1, -1, 3479447370796909, 1 << 52, 1 << 53, math.Inf(1), math.Inf(-1), 1e19, math.MaxFloat64} {
		f.Add(score, 100.0, 5.0)
	}
	f.Fuzz(func(t *testing.T, score, radius, other float64) {
		if math.IsNaN(score) || math.IsNaN(other) {
			return
		}
		p := GeoPosition(score)
		if !p.Valid() {
			t.Fatalf("%v is %+v", score, p)
		}
		p.Geohash()
		if again := GeoPosition(p.Score()); score >= 0 && score < 1<<52 && score == math.Trunc(score) && again != p {
			t.Fatalf("%v: %+v and %+v", score, p, again)
		}
		if radius < 0 || math.IsNaN(radius) {
			return
		}
		g := GeoArea{Center: p, Unit: 1, Radius: radius}
		if n := len(g.Ranges()); n < 1 || n > 9 {
			t.Fatalf("%d ranges", n)
		}
		if d, ok := g.Distance(GeoPosition(other)); ok && d > radius {
			t.Fatalf("%v is within %v", d, radius)
		}
	})
}
