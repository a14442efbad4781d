//go:build !seed

package replog

const planted = noSeed
