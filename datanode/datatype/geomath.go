package datatype

import "math"

// Distances are stored as scores with STOREDIST, so their last bit shows. C's library rounds sin, cos and asin to the nearest
// number in all but few cases; Go's doesn't. These do, by sums of two numbers (Dekker, "A floating-point technique for extending
// the available precision", 1971), for arguments up to some multiples of pi.

// double2 is hi + lo, where lo is less than half of hi's last bit.
type double2 struct{ hi, lo float64 }

// sum2 adds without loss.
func sum2(a, b float64) double2 {
	s := a + b
	t := s - a
	return double2{s, (a - (s - t)) + (b - t)}
}

func (a double2) add(b double2) double2 {
	s := sum2(a.hi, b.hi)
	return sum2(s.hi, s.lo+(a.lo+b.lo))
}

func (a double2) mul(b double2) double2 {
	p := a.hi * b.hi
	return sum2(p, math.FMA(a.hi, b.hi, -p)+(a.hi*b.lo+a.lo*b.hi))
}

func (a double2) div(n float64) double2 {
	q := a.hi / n
	return sum2(q, (math.FMA(-q, n, a.hi)+a.lo)/n)
}

// series sums 1 - z/(n(n+1)) + z²/(n(n+1)(n+2)(n+3)) - ..., for z up to 0.7.
func series(z double2, n float64) double2 {
	sum := double2{1, 0}
	for k := n + 22; k >= n; k -= 2 {
		t := z.mul(sum).div(k * (k + 1))
		sum = double2{1, 0}.add(double2{-t.hi, -t.lo})
	}
	return sum
}

// sinCos returns both, of the rest of x beyond the nearest multiple of pi/2, and turns them to x.
func sinCos(x float64) (sin, cos double2) {
	const half, more, most = 1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33 // pi/2
	k := math.Round(x / half)
	r := sum2(x, -k*half).add(double2{-k * more, -k * most})
	z := r.mul(r)
	sin, cos = r.mul(series(z, 2)), series(z, 1)
	for range int(k) & 3 {
		sin, cos = cos, double2{-sin.hi, -sin.lo}
	}
	return sin, cos
}

func exactSin(x float64) float64 {
	if x == 0 {
		return x
	}
	sin, _ := sinCos(x)
	return sin.hi
}

func exactCos(x float64) float64 {
	_, cos := sinCos(x)
	return cos.hi
}

// exactAsin makes one step of Newton's from Go's.
func exactAsin(y float64) float64 {
	x := math.Asin(y)
	if x == 0 || x != x {
		return x
	}
	sin, cos := sinCos(x)
	return x + ((y-sin.hi)-sin.lo)/cos.hi
}
