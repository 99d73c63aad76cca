use super::super::testing::*;

#[test]
fn look() {
    let mut app = app(&full());
    for (w,h) in [(80,24),(200,50),(40,10),(40,8),(1,1),(60,20)] { println!("{}", drawn(&mut app,w,h)); }
    panic!()
}
