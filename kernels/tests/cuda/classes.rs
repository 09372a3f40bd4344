//! One kernel of every class and kind.

use crate::emulate::{Case, check_all};
use crate::zoo;
use dlirc_kernels::cuda::{Target, generate};

#[test]
fn every_class_has_device_code() {
    for arch in [80, 86, 89, 90, 100, 120] {
        let target = Target::of_arch(arch).unwrap();
        let cases = zoo::kernels().into_iter().zip(0..);
        let case = |((name, spec), seed)| Case::on(&target, name, spec, seed);
        let cases: Vec<Case> = cases.map(case).collect();
        for case in &cases {
            let again = generate(&case.spec, &target).unwrap();
            assert_eq!(again, case.code, "{}", case.name);
        }
        // The architectures differ in what a multiprocessor has.
        if matches!(arch, 80 | 89 | 90) {
            check_all(cases);
        }
    }
}
