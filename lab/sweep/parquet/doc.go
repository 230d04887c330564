// Package parquet writes and reads rows of a sweep as Parquet files. It
// stands apart so that a program which does not want them does not pull in a module for
// Parquet.
package parquet
