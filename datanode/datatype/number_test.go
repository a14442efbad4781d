package datatype

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestParseInt(t *testing.T) {
	for _, s := range []string{"0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808", "42"} {
		want, _ := strconv.ParseInt(s, 10, 64)
		if got, ok := ParseInt([]byte(s)); !ok || got != want {
			t.Errorf("ParseInt(%q) = %d, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "9223372036854775808", "-9223372036854775809",
		"18446744073709551616", "99999999999999999999", "999999999999999999999", "1e3", "0x1", "1\x00"} {
		if got, ok := ParseInt([]byte(s)); ok {
			t.Errorf("ParseInt(%q) = %d", s, got)
		}
	}
}

func FuzzParseInt(f *testing.F) {
	f.Add([]byte("-12"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := ParseInt(b)
		if m, err := strconv.ParseInt(string(b), 10, 64); ok != (err == nil && strconv.FormatInt(m, 10) == string(b)) || ok && n != m {
			t.Fatalf("ParseInt(%q) = %d, %v", b, n, ok)
		}
	})
}

func TestParseFloat(t *testing.T) {
	for s, want := range map[string]float64{"1": 1, "-1.5": -1.5, "+2": 2, ".5": .5, "5.": 5, "1e3": 1000, "inf": math.Inf(1), "-INF": math.Inf(-1),
		"+Infinity": math.Inf(1), "0x10": 16, "0x1p-1": .5, "007": 7, "1e-300": 1e-300, "0e5": 0, "0.0": 0, "9007199254740993": 9007199254740992} {
		if got, ok := ParseFloat([]byte(s)); !ok || got != want {
			t.Errorf("ParseFloat(%q) = %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", " 1", "1 ", "nan", "NaN", "1_0", "0x_1p0", "1e400", "-1e400", "1e-400", "abc", "1e", "--1", "(1", "1\x00", "0x", "i", "infinit"} {
		if got, ok := ParseFloat([]byte(s)); ok {
			t.Errorf("ParseFloat(%q) = %v", s, got)
		}
	}
}

// Every number reads back from its text with 17 digits, which is how replies are written.
func TestParseFloatRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		f := math.Float64frombits(r.Uint64())
		if f != f {
			continue
		}
		text := strconv.AppendFloat(nil, f, 'g', 17, 64)
		if got, ok := ParseFloat(text); !ok || got != f {
			t.Fatalf("%g is written as %s and read as %v, %v", f, text, got, ok)
		}
	}
}

func FuzzParseFloat(f *testing.F) {
	for _, s := range []string{"1", "0x1", "-inf", "1e-5", "0x1p3", ".e", "1e400"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := ParseFloat(b)
		if !ok {
			return
		}
		if again, ok := ParseFloat(strconv.AppendFloat(nil, v, 'g', 17, 64)); !ok || again != v {
			t.Fatalf("%q is %g, then %g, %v", b, v, again, ok)
		}
	})
}

func TestFloatSum(t *testing.T) {
	for _, c := range []struct{ value, increment, want string }{
		{"10.50", "0.1", "10.6"}, {"5.0e3", "2.0e2", "5200"}, {"0", "0", "0"}, {"0.1", "0.2", "0.3"}, {"1", "-1", "0"}, {"-0.0", "0", "0"},
		{"3", "1.000000000000000005", "4.00000000000000001"}, {"1e20", "1", "100000000000000000000"}, {"1e19", "1", "10000000000000000001"}, {"0x10", "1", "17"}, {"1e-20", "0", "0"},
		{"9223372036854775807", "1", "9223372036854775808"}, {"100", ".25", "100.25"},
	} {
		got, err := FloatSum(nil, []byte(c.value), []byte(c.increment))
		if err != nil || string(got) != c.want {
			t.Errorf("%s + %s = %s, %v; want %s", c.value, c.increment, got, err, c.want)
		}
	}
	for _, c := range []struct {
		value, increment string
		want             error
	}{
		{"x", "1", ErrNotFloat}, {"1", "", ErrNotFloat}, {"1", "nan", ErrNotFloat}, {"1", "inf", ErrNaN}, {"-inf", "inf", ErrNaN},
		{"1e4932", "1e4932", ErrNaN}, {"1", "1e5000", ErrNotFloat}, {"1", "0b1", ErrNotFloat}, {"1", "0o7", ErrNotFloat}, {"1 ", "1", ErrNotFloat},
		{"1", "1e-5000", ErrNotFloat}, {"1", "1e999999999", ErrNotFloat},
	} {
		if got, err := FloatSum(nil, []byte(c.value), []byte(c.increment)); err != c.want {
			t.Errorf("%s + %s = %s, %v; want %v", c.value, c.increment, got, err, c.want)
		}
	}
	if got, err := FloatSum([]byte("x"), nil, []byte("1.5")); err != nil || string(got) != "x1.5" {
		t.Errorf("absent + 1.5 = %s, %v", got, err)
	}
}

func FuzzFloatSum(f *testing.F) {
	f.Add([]byte("1.5"), []byte("-inf"))
	f.Add([]byte("0x1p-3"), []byte("1e4000"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		sum, err := FloatSum(nil, a, b)
		if err == nil {
			if _, err := FloatSum(nil, sum, []byte("0")); err != nil {
				t.Fatalf("%q + %q = %s, which is not a float: %v", a, b, sum, err)
			}
		}
	})
}

func BenchmarkParseInt(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ParseInt([]byte("1234567890"))
	}
}

func BenchmarkParseFloat(b *testing.B) {
	text := []byte("1234.5678")
	b.ReportAllocs()
	for b.Loop() {
		ParseFloat(text)
	}
}
