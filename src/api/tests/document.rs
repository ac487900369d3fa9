//! The `OpenAPI` document as clients see it.

#[test]
fn the_document_is_as_it_was() {
    insta::assert_snapshot!("openapi", hythe_api::document());
}
