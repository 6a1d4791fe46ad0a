use super::*;

#[test]
fn a_panic_of_the_compiler_becomes_a_problem_of_the_source() {
    let problem = |text: &str| Err(Problem::plain(format!("{CRASHED}: {text}")));
    assert_eq!(apart(|| panic!("index {} is odd", 3)).unwrap(), problem("index 3 is odd"));
    assert_eq!(apart(|| panic!("plain")).unwrap(), problem("plain"));
    assert_eq!(apart(|| Ok(vec![1])).unwrap(), Ok(vec![1]));
}
