//! Tables and facts, letter by letter.

use super::*;

#[test]
fn a_table_has_columns_two_spaces_apart_and_no_trailing_ones() {
    let rows = [
        vec!["a".to_owned(), "long cell".to_owned(), "9 B".to_owned()],
        vec!["bcd".to_owned(), "x".to_owned(), "10 KiB".to_owned()],
    ];
    assert_eq!(
        table(&["ID", "NAME", "SIZE"], &rows, &[2]),
        "ID   NAME         SIZE\n\
         a    long cell     9 B\n\
         bcd  x          10 KiB\n"
    );
}

#[test]
fn a_table_of_nothing_is_its_head() {
    assert_eq!(table(&["ID", "NAME"], &[], &[]), "ID  NAME\n");
}

#[test]
fn a_cell_cannot_steer_the_terminal() {
    let rows = [vec!["\x1b[31m".to_owned(), "a\nb".to_owned()]];
    assert_eq!(
        table(&["A", "B"], &rows, &[]),
        "A         B\n\\x1b[31m  a\\x0ab\n"
    );
}

#[test]
fn further_values_of_a_fact_stand_below_the_first() {
    let lines = [
        ("Name", "x".to_owned()),
        ("Used by", "a\nb".to_owned()),
        ("Empty", String::new()),
    ];
    assert_eq!(facts(&lines), "Name     x\nUsed by  a\n         b\nEmpty\n");
}

#[test]
fn plain_paint_leaves_text_alone() {
    assert_eq!(Paint::Plain.bad("x"), "x");
    assert_eq!(Paint::Colour.bad("x"), "\x1b[1;31mx\x1b[0m");
}
